"""Random scale and crop: the image enlarged or shrunk, then cut at a random place, zeros where it does not reach."""

from dataclasses import dataclass
from math import log

import torch
from torch import Tensor

from datamodules.augmentation.keys import fold_in, random_integers, uniform
from datamodules.augmentation.resized_crop import interpolation_matrices


@dataclass(frozen=True)
class RandomScale:
    """Scales by a random factor, then crops at a random place or, where the result is too small, pads about it.

    Factors are uniform in the logarithm: an image is as often doubled as halved. It is what segmentation is usually
    trained with (Chen et al. 2017, arXiv:1706.05587, section 4).

    Attributes:
        scale: range of the factor.
        size: height and width of the result; ``None`` keeps that of the images.
        interpolation: ``nearest``, or ``bilinear`` with antialiasing.
    """

    scale: tuple[float, float] = (0.5, 2.0)
    size: tuple[int, int] | None = None
    interpolation: str = "bilinear"

    def __call__(self, images: Tensor, keys: Tensor) -> Tensor:
        """Return ``(N, C, H', W')`` uint8 of ``images (N, C, H, W)`` uint8, steered by ``keys (N,)``."""
        height, width = images.shape[-2:]
        size = self.size or (height, width)
        factors = uniform(fold_in(keys, 0), log(self.scale[0]), log(self.scale[1])).exp()
        tops, heights = random_interval(fold_in(keys, 1), factors, height, size[0])
        lefts, widths = random_interval(fold_in(keys, 2), factors, width, size[1])
        return resample(images, torch.stack([tops, lefts, heights, widths], dim=1), size, self.interpolation)


def random_interval(keys: Tensor, factors: Tensor, available: int, wanted: int) -> tuple[Tensor, Tensor]:
    """Return starts and lengths ``(N,)`` int64 of what fills ``wanted`` pixels once it is scaled by ``factors (N,)``.

    It lies within the ``available`` pixels where it fits in there, else about all of them.
    """
    lengths = (wanted / factors.double()).round().long().clamp(min=1)
    room = available - lengths
    return random_integers(keys, 0, room.abs() + 1) + room.clamp(max=0), lengths


def resample(images: Tensor, boxes: Tensor, size: tuple[int, int], interpolation: str = "bilinear") -> Tensor:
    """Resize boxes to one size, zeros where the middle of a pixel lies outside of the image.

    Args:
        images: ``(N, C, H, W)`` uint8.
        boxes: ``(N, 4)`` int64: top, left, height, width, in part perhaps outside of the image.
        size: height and width of the result.
        interpolation: ``nearest``, or ``bilinear`` with antialiasing.

    Returns:
        ``(N, C, *size)`` uint8.
    """
    top, left, height, width = boxes.unbind(1)
    rows = nearest_pixels(top, height, size[0])
    columns = nearest_pixels(left, width, size[1])
    if interpolation == "nearest":
        return pick(images, rows, columns)
    down = matrices_inside(top, height, rows, images.shape[2])
    across = matrices_inside(left, width, columns, images.shape[3])
    stretched = images.flatten(1, 2).float() @ across.transpose(1, 2)
    resized = down.unsqueeze(1) @ stretched.view(*images.shape[:3], size[1])
    return resized.round_().clamp_(0, 255).to(torch.uint8)


def nearest_pixels(starts: Tensor, lengths: Tensor, num_outputs: int) -> Tensor:
    """Return ``(N, num_outputs)`` int64: in which input pixel, maybe none of the image, the middle of each lies."""
    middles = 2 * torch.arange(num_outputs, device=starts.device) + 1
    return middles * lengths.unsqueeze(1) // (2 * num_outputs) + starts.unsqueeze(1)


def pick(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return the pixels at ``rows (N, H')`` and ``columns (N, W')`` of ``images (N, C, H, W)``, zeros outside."""
    height, width = images.shape[2:]
    places = rows.clamp(0, height - 1).unsqueeze(2) * width + columns.clamp(0, width - 1).unsqueeze(1)
    inside = is_inside(rows, height).unsqueeze(2) & is_inside(columns, width).unsqueeze(1)
    picked = images.flatten(2).gather(2, places.flatten(1).unsqueeze(1).expand(-1, images.shape[1], -1))
    return picked.view(*images.shape[:2], *inside.shape[1:]) * inside.unsqueeze(1)


def matrices_inside(starts: Tensor, lengths: Tensor, nearest: Tensor, num_inputs: int) -> Tensor:
    """Return the interpolation matrices ``(N, num_outputs, num_inputs)``, zero where an output lies outside."""
    matrices = interpolation_matrices(starts, lengths, num_inputs, nearest.shape[1])
    return torch.where(is_inside(nearest, num_inputs).unsqueeze(2), matrices, 0.0)


def is_inside(places: Tensor, size: int) -> Tensor:
    """Return whether ``places`` are in ``[0, size)``."""
    return (places >= 0) & (places < size)
