"""Horizontal flip and shift in one pass: a crop at a random place of the zero-padded, perhaps mirrored image."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from datamodules.augmentation.keys import random_integers


@dataclass(frozen=True)
class FlipAndCrop:
    """Mirrors half of the images and crops them, padded by ``padding`` zeros, back to their size.

    Attributes:
        horizontal_flip: whether there is any mirroring.
        padding: pixels added on every side, as torchvision's ``RandomCrop(size, padding)``; 0 shifts nothing.
    """

    horizontal_flip: bool = True
    padding: int = 4

    def __call__(self, images: Tensor, keys: Tensor) -> Tensor:
        """Return ``(N, C, H, W)`` uint8 of ``images (N, C, H, W)`` uint8, steered by ``keys (N,)``."""
        places = (2 * self.padding + 1) ** 2
        variants = random_integers(keys, 0, 2 * places if self.horizontal_flip else places)
        return take_variants(images, variants, self.padding)


def flip_and_crop(images: Tensor, flips: Tensor, tops: Tensor, lefts: Tensor, padding: int) -> Tensor:
    """Mirror the images where asked, pad them with zeros and crop them to their size.

    Args:
        images: ``(N, C, H, W)`` uint8.
        flips: ``(N,)`` bool or int64, 1 where an image is mirrored.
        tops: ``(N,)`` int64 in ``[0, 2 * padding]``, the crop's first row in the padded image.
        lefts: ``(N,)`` int64, likewise its first column.
        padding: pixels added on every side.

    Returns:
        ``(N, C, H, W)`` uint8.
    """
    places = 2 * padding + 1
    return take_variants(images, (flips * places + tops) * places + lefts, padding)


def take_variants(images: Tensor, variants: Tensor, padding: int) -> Tensor:
    """Return the crops numbered ``variants (N,)``, in the order of ``(flip, top, left)``.

    A row of a crop is ``W`` neighbouring bytes of the batch or, mirrored, of the batch with each image reversed; all
    rows are picked in one ``index_select``, and what reaches into another row or image is masked. That costs a quarter
    of a gather with an index a pixel.

    Raises:
        ValueError: the padding is larger than the image.
    """
    num_images, channels, height, width = images.shape
    if padding > min(height, width):
        raise ValueError(
            f"crop_padding: got {padding}, expected at most {min(height, width)} for images of {height} x {width}; "
            "about an eighth of the image's size is usual"
        )
    starts, offsets, mask = places_of(images.shape, padding, images.device)
    flat = images.reshape(num_images, -1)
    margin = flat[:1]  # whatever is read from it is masked
    pixels = torch.cat([margin, flat, flat.flip(1), margin])
    windows = pixels.as_strided((pixels.numel() - width + 1, width), (1, 1))
    rows = starts.index_select(0, variants).add_(offsets)
    crops = windows.index_select(0, rows.view(-1)).view(num_images, channels, height * width)
    if padding:
        crops &= mask.index_select(0, variants)
    return crops.view(images.shape)


@lru_cache(maxsize=32)
def places_of(shape: torch.Size, padding: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return what the crops of batches ``shape (N, C, H, W)`` have in common, made once.

    These are where each row of each crop starts in the batch's first image, ``(2 * places, C * H)`` int64; where the
    images start, ``(N, 1)`` int64; and what lies inside of the image, ``(2 * places, 1, H * W)`` uint8.
    """
    num_images, channels, height, width = shape
    starts = row_starts(num_images, channels, height, width, padding)
    size = channels * height * width
    offsets = torch.arange(0, num_images * size, size).unsqueeze(1)
    mask = inside(height, width, padding).unsqueeze(1)
    return starts.to(device), offsets.to(device), mask.to(device)


def row_starts(num_images: int, channels: int, height: int, width: int, padding: int) -> Tensor:
    """Return where each row of each crop starts, for the batch's first image: ``(2 * places, C * H)`` int64."""
    shifts = torch.arange(-padding, padding + 1)
    rows = (shifts.unsqueeze(1) + torch.arange(height)).clamp(0, height - 1)
    rows = rows.unsqueeze(1) + torch.arange(channels).unsqueeze(1) * height
    size = channels * height * width
    mirrored = num_images * size + size - (rows + 1) * width
    starts = torch.stack([rows * width, mirrored]).flatten(-2).unsqueeze(2) + shifts.view(1, 1, -1, 1) + size
    return starts.flatten(0, 2)


def inside(height: int, width: int, padding: int) -> Tensor:
    """Return 255 for the pixels of each crop that come from the image, else 0: ``(2 * places, H * W)`` uint8."""
    shifts = torch.arange(-padding, padding + 1).unsqueeze(1)
    rows, columns = shifts + torch.arange(height), shifts + torch.arange(width)
    rows, columns = (rows >= 0) & (rows < height), (columns >= 0) & (columns < width)
    pixels = rows[:, None, :, None] & columns[None, :, None, :]
    return pixels.flatten(0, 1).flatten(1).mul(255).to(torch.uint8).repeat(2, 1)
