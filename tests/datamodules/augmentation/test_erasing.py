import torch
from torchvision.transforms import RandomErasing as TorchvisionErasing
from torchvision.transforms.v2 import functional as F

from datamodules.augmentation.erasing import RandomErasing, erase, random_rectangles
from datamodules.augmentation.keys import sample_keys


def keys_of(num):
    return sample_keys(0, torch.zeros(num, dtype=torch.int64), torch.arange(num))


def test_erased_images_are_those_of_torchvision():
    images = torch.randint(0, 256, (32, 3, 17, 12), dtype=torch.uint8)
    boxes = random_rectangles(keys_of(32), 17, 12, (0.02, 0.33), (0.3, 3.3))
    black = torch.zeros(1, dtype=torch.uint8)
    expected = [F.erase(image, *box.tolist(), black) for image, box in zip(images, boxes, strict=True)]
    assert torch.equal(erase(images, boxes), torch.stack(expected))


def test_rectangles_are_distributed_as_those_of_torchvision():
    num, height, width = 4000, 32, 24
    torch.manual_seed(0)
    image = torch.zeros(1, height, width)
    theirs = torch.tensor(
        [TorchvisionErasing.get_params(image, (0.02, 0.33), (0.3, 3.3), [0.0])[:4] for _ in range(num)]
    ).float()
    ours = random_rectangles(keys_of(num), height, width, (0.02, 0.33), (0.3, 3.3)).float()
    error = theirs.std(dim=0) * (2 / num) ** 0.5
    assert ((ours.mean(dim=0) - theirs.mean(dim=0)).abs() < 5 * error).all()
    assert ((ours.std(dim=0) / theirs.std(dim=0) - 1).abs() < 0.1).all()


def test_the_probability_is_the_share_of_erased_images():
    images = torch.full((2000, 1, 16, 16), 9, dtype=torch.uint8)
    for probability, low, high in ((0.0, 0, 0), (0.25, 400, 600), (1.0, 2000, 2000)):
        erased = (RandomErasing(probability)(images, keys_of(2000)) == 0).flatten(1).any(dim=1)
        assert low <= int(erased.sum()) <= high


def test_a_rectangle_that_never_fits_erases_nothing():
    boxes = random_rectangles(keys_of(50), 4, 4, (1.0, 1.0), (1.0, 1.0))
    assert (boxes[:, 2:] == 0).all()
