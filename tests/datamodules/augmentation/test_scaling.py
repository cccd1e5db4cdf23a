import pytest
import torch
from torchvision.transforms.v2 import functional as F

from datamodules.augmentation.keys import sample_keys
from datamodules.augmentation.scaling import RandomScale, random_interval, resample

NUM = 32


def keys_of(num):
    return sample_keys(0, torch.zeros(num, dtype=torch.int64), torch.arange(num))


def images_of(*shape):
    return torch.randint(0, 256, shape, dtype=torch.uint8)


def test_a_scale_of_one_changes_nothing():
    images = images_of(4, 3, 12, 15)
    for interpolation in ("nearest", "bilinear"):
        assert torch.equal(RandomScale((1.0, 1.0), None, interpolation)(images, keys_of(4)), images)


def test_what_lies_within_the_image_is_torchvisions_crop():
    images = images_of(4, 3, 40, 30)
    boxes = torch.tensor([[0, 0, 40, 30], [5, 3, 20, 22], [10, 10, 9, 9], [39, 29, 1, 1]])
    expected = [F.resized_crop(image, *box.tolist(), (24, 20)) for image, box in zip(images, boxes, strict=True)]
    assert (resample(images, boxes, (24, 20)).int() - torch.stack(expected).int()).abs().max() <= 1


def test_a_shrunk_image_lies_in_black():
    image = images_of(1, 3, 8, 8)
    small = resample(image, torch.tensor([[-2, -6, 16, 16]]), (8, 8))
    difference = small[..., 1:5, 3:7].int() - F.resize(image, [4, 4]).int()
    assert difference.abs().max() <= 1
    small[..., 1:5, 3:7] = 0
    assert (small == 0).all()


def test_enlarging_twice_repeats_the_nearest_pixel():
    image = images_of(2, 1, 6, 6)
    doubled = resample(image, torch.tensor([[0, 0, 3, 3], [3, 2, 3, 3]]), (6, 6), "nearest")
    expected = torch.stack([image[0, :, :3, :3], image[1, :, 3:, 2:5]]).repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert torch.equal(doubled, expected)


def test_factors_are_as_often_halves_as_doubles_and_places_are_everywhere():
    num, side = 4000, 32
    factors = torch.cat([torch.full((num,), 2.0), torch.full((num,), 0.5)])
    starts, lengths = random_interval(keys_of(2 * num), factors, side, side)
    assert set(lengths[:num].tolist()) == {16}
    assert set(lengths[num:].tolist()) == {64}
    assert set(starts[:num].tolist()) == set(range(17))
    assert set(starts[num:].tolist()) == set(range(-32, 1))
    white = torch.full((num, 1, side, side), 255, dtype=torch.uint8)
    shrunk = (RandomScale((0.5, 2.0), None, "nearest")(white, keys_of(num)) == 0).flatten(1).any(dim=1).float().mean()
    assert 0.45 < shrunk < 0.53


def test_crops_have_the_size_asked_for():
    images = images_of(NUM, 3, 24, 30)
    crops = RandomScale((1.0, 1.0), (10, 12), "bilinear")(images, keys_of(NUM))
    assert crops.shape == (NUM, 3, 10, 12)
    for image, crop in zip(images, crops, strict=True):
        windows = image.unfold(1, 10, 1).unfold(2, 12, 1)
        assert (windows == crop.unsqueeze(1).unsqueeze(1)).flatten(3).all(dim=3).all(dim=0).any()


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_the_result_does_not_depend_on_the_batch(interpolation):
    images, keys = images_of(NUM, 3, 16, 16), keys_of(NUM)
    operation = RandomScale(interpolation=interpolation)
    parts = [operation(*part) for part in zip(images.split(5), keys.split(5), strict=True)]
    assert torch.equal(operation(images, keys), torch.cat(parts))
