import pytest
import torch
from torchvision.transforms.v2 import functional as F

from datamodules.augmentation.crop import FlipAndCrop, flip_and_crop
from datamodules.augmentation.keys import sample_keys


def random_images(*shape):
    return torch.randint(0, 256, shape, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("shape", "padding"), [((64, 1, 28, 28), 4), ((64, 3, 9, 13), 2), ((33, 3, 5, 4), 4), ((8, 1, 6, 6), 0)]
)
def test_crops_are_those_of_torchvision(shape, padding):
    images = random_images(*shape)
    flips = torch.randint(0, 2, (len(images),))
    tops, lefts = torch.randint(0, 2 * padding + 1, (2, len(images)))
    tops[:4], lefts[:4] = torch.tensor([0, 0, 2, 2]) * padding, torch.tensor([0, 2, 0, 2]) * padding
    expected = []
    for image, flip, top, left in zip(images, flips, tops, lefts, strict=True):
        padded = F.pad(F.horizontal_flip(image) if flip else image, [padding])
        expected.append(F.crop(padded, int(top), int(left), *shape[2:]))
    assert torch.equal(flip_and_crop(images, flips, tops, lefts, padding), torch.stack(expected))


def test_input_may_be_strided_and_stays_as_it_is():
    images = random_images(8, 6, 6, 3).permute(0, 3, 1, 2)
    before = images.clone()
    keys = sample_keys(0, torch.zeros(8, dtype=torch.int64), torch.arange(8))
    crops = FlipAndCrop(padding=2)(images, keys)
    assert torch.equal(crops, FlipAndCrop(padding=2)(images.contiguous(), keys))
    assert torch.equal(images, before)


def test_flips_and_places_are_equally_likely():
    num = 20_000
    image = torch.arange(1, 10, dtype=torch.uint8).view(1, 1, 3, 3)
    keys = sample_keys(0, torch.zeros(num, dtype=torch.int64), torch.arange(num))
    crops = FlipAndCrop(padding=1)(image.expand(num, -1, -1, -1), keys)
    kinds, counts = crops.flatten(1).unique(dim=0, return_counts=True)
    assert len(kinds) == 18
    assert ((counts - num / 18) ** 2 / (num / 18)).sum() < 17 + 4 * 34**0.5


def test_without_flip_or_padding_nothing_of_it_happens():
    images = random_images(64, 1, 4, 5)
    keys = sample_keys(0, torch.zeros(64, dtype=torch.int64), torch.arange(64))
    assert torch.equal(FlipAndCrop(horizontal_flip=False, padding=0)(images, keys), images)
    flipped = (FlipAndCrop(padding=0)(images, keys) == images.flip(-1)).flatten(1).all(dim=1)
    assert 16 < int(flipped.sum()) < 48
    shifted = FlipAndCrop(horizontal_flip=False, padding=1)(images[:, :, :1, :1].expand(-1, -1, 4, 5), keys)
    assert torch.equal(shifted, shifted.flip(0).flip(0))
    assert not torch.equal(shifted, images[:, :, :1, :1].expand(-1, -1, 4, 5))


def test_padding_larger_than_the_image_is_refused():
    with pytest.raises(ValueError, match=r"crop_padding: got 9, expected at most 8 for images of 8 x 10"):
        FlipAndCrop(padding=9)(random_images(2, 1, 8, 10), torch.zeros(2, dtype=torch.int64))
