import pytest
import torch
from torchvision.transforms import RandomResizedCrop as TorchvisionCrop
from torchvision.transforms.v2 import functional as F

from datamodules.augmentation.keys import sample_keys
from datamodules.augmentation.resized_crop import RandomResizedCrop, middle_size, random_boxes, resized_crop


def keys_of(num):
    return sample_keys(0, torch.zeros(num, dtype=torch.int64), torch.arange(num))


@pytest.mark.parametrize("size", [(28, 28), (12, 17), (50, 41)])
@pytest.mark.parametrize("shape", [(32, 1, 28, 28), (32, 3, 40, 33)])
def test_resized_crops_are_those_of_torchvision(shape, size):
    images = torch.randint(0, 256, shape, dtype=torch.uint8)
    boxes = random_boxes(keys_of(32), *shape[2:], (0.08, 1.0), (3 / 4, 4 / 3))
    ours = resized_crop(images, boxes, size).int()
    in_bytes = torch.stack([F.resized_crop(i, *b.tolist(), size) for i, b in zip(images, boxes, strict=True)])
    in_floats = [F.resized_crop(i.float(), *b.tolist(), size) for i, b in zip(images, boxes, strict=True)]
    # torchvision's bytes are rounded between the two sides; its floats are summed in another order.
    assert (ours - in_bytes.int()).abs().max() <= 1
    difference = (ours - torch.stack(in_floats).round().int()).abs()
    assert difference.max() <= 1
    assert (difference > 0).float().mean() < 0.001


def test_whole_images_of_the_same_size_stay_as_they_are():
    images = torch.randint(0, 256, (4, 3, 9, 14), dtype=torch.uint8)
    assert torch.equal(resized_crop(images, torch.tensor([[0, 0, 9, 14]] * 4), (9, 14)), images)


def test_boxes_are_distributed_as_those_of_torchvision():
    num, height, width = 4000, 40, 30
    scale, ratio = (0.3, 1.0), (3 / 4, 4 / 3)
    torch.manual_seed(0)
    image = torch.zeros(1, height, width)
    theirs = torch.tensor([TorchvisionCrop.get_params(image, list(scale), list(ratio)) for _ in range(num)]).float()
    boxes = random_boxes(keys_of(num), height, width, scale, ratio)
    ours = boxes.float()
    error = theirs.std(dim=0) * (2 / num) ** 0.5
    assert ((ours.mean(dim=0) - theirs.mean(dim=0)).abs() < 5 * error).all()
    assert ((ours.std(dim=0) / theirs.std(dim=0) - 1).abs() < 0.1).all()
    assert (boxes[:, 0] + boxes[:, 2] <= height).all()
    assert (boxes[:, 1] + boxes[:, 3] <= width).all()


@pytest.mark.parametrize(
    ("height", "width", "expected"), [(10, 100, (10, 13)), (100, 10, (13, 10)), (20, 20, (20, 20))]
)
def test_impossible_shapes_take_the_largest_patch_in_the_middle(height, width, expected):
    assert middle_size(height, width, (3 / 4, 4 / 3)) == expected
    boxes = random_boxes(keys_of(8), height, width, (1.0, 1.0), (3 / 4, 4 / 3))
    if height != width:
        middle = [(height - expected[0]) // 2, (width - expected[1]) // 2, *expected]
        assert boxes.tolist() == [middle] * 8


def test_the_size_is_that_of_the_images_unless_given():
    images = torch.randint(0, 256, (3, 3, 20, 30), dtype=torch.uint8)
    assert RandomResizedCrop()(images, keys_of(3)).shape == (3, 3, 20, 30)
    assert RandomResizedCrop((8, 9))(images, keys_of(3)).shape == (3, 3, 8, 9)
