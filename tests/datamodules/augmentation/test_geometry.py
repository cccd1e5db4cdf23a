import pytest
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from datamodules.augmentation.geometry import RandomAffine, affine, inverse_affine_matrices, rotate
from datamodules.augmentation.keys import sample_keys

NUM = 48
SHAPES = [(NUM, 1, 28, 28), (NUM, 3, 31, 37)]


def random_images(shape):
    return torch.randint(0, 256, shape, dtype=torch.uint8)


def assert_near(ours, theirs, interpolation):
    """Nearest: pixel for pixel. Bilinear: sums that lie halfway between two levels may be rounded to the other."""
    difference = (ours.int() - theirs.int()).abs()
    assert int(difference.max()) <= (1 if interpolation == "bilinear" else 0)
    assert (difference > 0).float().mean() < 0.001


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize("shape", SHAPES)
def test_rotation_is_that_of_torchvision(shape, interpolation):
    images, angles = random_images(shape), torch.rand(NUM) * 360 - 180
    mode = InterpolationMode(interpolation)
    expected = [F.rotate(image, float(a), interpolation=mode) for image, a in zip(images, angles, strict=True)]
    assert_near(rotate(images, angles, interpolation), torch.stack(expected), interpolation)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize("shape", SHAPES)
def test_affine_is_that_of_torchvision(shape, interpolation):
    images, angles = random_images(shape), torch.rand(NUM) * 360 - 180
    shifts, scales = torch.randint(-9, 10, (NUM, 2)), torch.rand(NUM) + 0.5
    shears, centers = torch.rand(NUM, 2) * 60 - 30, torch.randint(0, 28, (NUM, 2)).float()
    expected = [
        F.affine(image, float(a), s.tolist(), float(z), h.tolist(), InterpolationMode(interpolation), center=c.tolist())
        for image, a, s, z, h, c in zip(images, angles, shifts, scales, shears, centers, strict=True)
    ]
    middle = torch.tensor([shape[3], shape[2]]) / 2
    matrices = inverse_affine_matrices(angles, shifts, scales, shears, centers - middle)
    assert_near(affine(images, matrices, interpolation), torch.stack(expected), interpolation)


def test_quarter_turns_of_squares_are_exact():
    images = random_images((4, 3, 16, 16))
    turned = rotate(images, torch.tensor([0.0, 90.0, 180.0, -90.0]))
    expected = [image.rot90(turns, dims=(1, 2)) for image, turns in zip(images, (0, 1, 2, 3), strict=True)]
    assert torch.equal(turned, torch.stack(expected))


def test_random_affine_that_does_nothing_does_nothing():
    images = random_images((16, 3, 12, 15))
    assert torch.equal(RandomAffine()(images, torch.arange(16)), images)


def test_random_shifts_are_whole_and_within_their_range():
    num = 400
    images = torch.zeros(num, 1, 21, 41, dtype=torch.uint8)
    images[:, :, 10, 20] = 255
    keys = sample_keys(0, torch.zeros(num, dtype=torch.int64), torch.arange(num))
    _, _, y, x = RandomAffine(translate=0.1)(images, keys).nonzero().unbind(1)
    assert len(y) == num
    assert sorted(set((y - 10).tolist())) == [-2, -1, 0, 1, 2]
    assert sorted(set((x - 20).tolist())) == [-4, -3, -2, -1, 0, 1, 2, 3, 4]
