import pytest
import torch
from torchvision.transforms.v2 import functional as F

from datamodules.augmentation import color
from datamodules.augmentation.keys import sample_keys

NUM = 48


@pytest.fixture(params=[1, 3], ids=["grey", "rgb"])
def images(request):
    """Noise, dim noise, one level, two levels, a ramp: the cases in which histograms and ranges degenerate."""
    images = torch.randint(0, 256, (NUM, request.param, 19, 23), dtype=torch.uint8)
    images[0] = 7
    images[1] //= 5
    images[2] = (images[2] > 250) * 200
    images[3] = torch.arange(19 * 23).remainder(256).view(19, 23)
    return images


def largest_difference(ours, theirs):
    assert ours.dtype == theirs.dtype == torch.uint8
    return int((ours.int() - theirs.int()).abs().max())


# Without a fused multiply-add, torchvision may cut a sum next to a whole number to the other side of it.
@pytest.mark.parametrize(
    ("name", "tolerance"), [("brightness", 0), ("contrast", 1), ("saturation", 1), ("sharpness", 1)]
)
def test_blends_are_those_of_torchvision(images, name, tolerance):
    factors = torch.rand(NUM, dtype=torch.float64) * 2
    factors[:3] = torch.tensor([0.0, 1.0, 1.9])
    adjust = getattr(F, f"adjust_{name}")
    expected = torch.stack([adjust(image, float(factor)) for image, factor in zip(images, factors, strict=True)])
    ours = getattr(color, f"adjust_{name}")(images, factors)
    assert largest_difference(ours, expected) <= tolerance
    assert (ours != expected).float().mean() < 0.001


def test_posterize_is_that_of_torchvision(images):
    bits = torch.arange(NUM) % 9
    expected = torch.stack([F.posterize(image, int(n)) for image, n in zip(images, bits, strict=True)])
    assert torch.equal(color.posterize(images, bits), expected)


def test_solarize_is_that_of_torchvision(images):
    thresholds = torch.rand(NUM) * 255
    thresholds[:3] = torch.tensor([0.0, 7.0, 255.0])
    expected = torch.stack([F.solarize(image, float(t)) for image, t in zip(images, thresholds, strict=True)])
    assert torch.equal(color.solarize(images, thresholds), expected)


@pytest.mark.parametrize("name", ["autocontrast", "equalize"])
def test_histogram_operations_are_those_of_torchvision(images, name):
    expected = torch.stack([getattr(F, name)(image) for image in images])
    assert torch.equal(getattr(color, name)(images), expected)


def test_images_too_small_to_blur_are_not_sharpened():
    images = torch.randint(0, 256, (4, 1, 2, 9), dtype=torch.uint8)
    assert torch.equal(color.adjust_sharpness(images, torch.full((4,), 2.0)), images)


def test_jitter_stays_within_its_range_and_leaves_out_what_is_zero():
    images = torch.full((500, 3, 2, 2), 100, dtype=torch.uint8)
    keys = sample_keys(0, torch.zeros(500, dtype=torch.int64), torch.arange(500))
    bright = color.ColorJitter(brightness=0.4)(images, keys)
    assert bright.min() < 65
    assert bright.min() >= 59
    assert bright.max() > 135
    assert bright.max() <= 140
    assert torch.equal(color.ColorJitter()(images, keys), images)
    # On one grey level the blends have nothing to change, and may only be cut to the whole number below.
    assert (color.ColorJitter(contrast=0.4, saturation=0.4)(images, keys) >= 98).all()
    noise = torch.randint(0, 256, (500, 3, 8, 8), dtype=torch.uint8)
    factors = noise.new_zeros(500).double()
    for jitter in (color.ColorJitter(contrast=1.0), color.ColorJitter(saturation=1.0)):
        assert (jitter(noise, keys) != noise).flatten(1).any(dim=1).all()
    assert color.adjust_contrast(noise, factors).flatten(1).float().std(dim=1).max() == 0
