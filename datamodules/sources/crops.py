"""Which part of a photograph becomes the image: the boxes of random resized crop and of resize with centre crop."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from datamodules.augmentation.keys import fold_in, uniform

ATTEMPTS = 10
CROP_STREAM = 0x63726F70
"""Sets the reader's draws apart from those that augmentation takes from the same keys."""


class Frame(NamedTuple):
    """A whole image's pixels, perhaps stored smaller or stretched.

    Attributes:
        pixels: ``(C, h, w)`` uint8, of which the first three channels are red, green and blue.
        height: of the image itself, in pixels; boxes are given on this scale.
        width: likewise.
    """

    pixels: Tensor
    height: int
    width: int


class Crop(NamedTuple):
    """A box within an image, in its own pixels."""

    top: int
    left: int
    height: int
    width: int


def crop_draws(keys: Tensor) -> list[list[list[float]]]:
    """Return for each key ``ATTEMPTS`` times four uniform numbers: area, aspect ratio, top, left."""
    streams = torch.stack([fold_in(keys, CROP_STREAM + k) for k in range(4 * ATTEMPTS)], dim=1)
    numbers: list[list[list[float]]] = uniform(streams, 0.0, 1.0).view(len(keys), ATTEMPTS, 4).tolist()
    return numbers


def random_crop(
    draws: list[list[float]], height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float]
) -> Crop:
    """Return the box of random resized crop (Szegedy et al. 2015, section 6, as torchvision has it).

    Args:
        draws: ``(ATTEMPTS, 4)`` numbers in ``[0, 1)``; the first attempt whose box fits is taken.
        height: of the image in pixels.
        width: likewise.
        scale: lower and upper bound of the box's share of the area.
        ratio: lower and upper bound of its width over height, drawn uniformly in the logarithm.
    """
    log_ratio = (math.log(ratio[0]), math.log(ratio[1]))
    for area_draw, ratio_draw, top_draw, left_draw in draws:
        area = height * width * (scale[0] + area_draw * (scale[1] - scale[0]))
        aspect = math.exp(log_ratio[0] + ratio_draw * (log_ratio[1] - log_ratio[0]))
        crop_width, crop_height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < crop_width <= width and 0 < crop_height <= height:
            top = int(top_draw * (height - crop_height + 1))
            left = int(left_draw * (width - crop_width + 1))
            return Crop(top, left, crop_height, crop_width)
    return widest_crop(height, width, ratio)


def widest_crop(height: int, width: int, ratio: tuple[float, float]) -> Crop:
    """Return the largest centred box whose width over height lies within ``ratio``."""
    aspect = min(max(width / height, ratio[0]), ratio[1])
    crop_width, crop_height = max(1, min(width, round(height * aspect))), max(1, min(height, round(width / aspect)))
    return Crop((height - crop_height) // 2, (width - crop_width) // 2, crop_height, crop_width)


def crop_and_resize(frame: Frame, crop: Crop, size: int) -> Tensor:
    """Return ``(3, size, size)`` uint8 pixels of a box; the box is carried over to the frame's stored pixels."""
    stored_height, stored_width = frame.pixels.shape[1:]
    top, bottom = carry_over(crop.top, crop.height, frame.height, stored_height)
    left, right = carry_over(crop.left, crop.width, frame.width, stored_width)
    return resize(frame.pixels[:, top:bottom, left:right], size, size)


def carry_over(begin: int, length: int, full: int, stored: int) -> tuple[int, int]:
    """Return begin and end of an interval of ``0..full`` on the scale ``0..stored``, at least one pixel long."""
    first = min(round(begin * stored / full), stored - 1)
    return first, max(first + 1, round((begin + length) * stored / full))


def resize_and_center_crop(frame: Frame, resized: int, size: int) -> Tensor:
    """Return ``(3, size, size)`` uint8: the shorter side brought to ``resized`` pixels, then the centre cut out.

    Sides and corners are rounded as torchvision's ``Resize`` and ``CenterCrop`` do it.
    """
    shorter = min(frame.height, frame.width)
    height, width = resized * frame.height // shorter, resized * frame.width // shorter
    whole = resize(frame.pixels, height, width)
    top, left = round((height - size) / 2), round((width - size) / 2)
    return whole[:, top : top + size, left : left + size]


def resize(pixels: Tensor, height: int, width: int) -> Tensor:
    """Return ``(3, height, width)`` uint8, interpolated linearly with antialiasing, of ``pixels (C, h, w)``.

    Channels after the third are dropped, but not before: four are interpolated faster than three are picked out.
    """
    if pixels.shape[1:] == (height, width):
        return pixels[:3]
    channels_last = pixels.permute(1, 2, 0).contiguous().unsqueeze(0).permute(0, 3, 1, 2)  # twice as fast
    return F.interpolate(channels_last, size=(height, width), mode="bilinear", antialias=True)[0, :3]


def reduction(available: int, needed: int) -> int:
    """Return by how much (1, 2, 4, 8) a JPEG may be shrunk while decoding, ``needed`` pixels remaining at least."""
    return next((k for k in (8, 4, 2) if needed * k <= available), 1)
