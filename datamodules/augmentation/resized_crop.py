"""Random resized crop: a patch of random area and shape, resized to the size wanted, bilinear with antialiasing."""

from dataclasses import dataclass
from math import log

import torch
from torch import Tensor

from datamodules.augmentation.keys import fold_in, random_integers, split, uniform

NUM_TRIES = 10


@dataclass(frozen=True)
class RandomResizedCrop:
    """Crops a random patch and resizes it, as torchvision's ``RandomResizedCrop`` (Szegedy et al. 2015).

    Attributes:
        size: height and width of the result; ``None`` keeps that of the images.
        scale: range of the patch's area, as a fraction of the image's.
        ratio: range of the patch's width over its height.
    """

    size: tuple[int, int] | None = None
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def __call__(self, images: Tensor, keys: Tensor) -> Tensor:
        """Return ``(N, C, H', W')`` uint8 of ``images (N, C, H, W)`` uint8, steered by ``keys (N,)``."""
        height, width = images.shape[-2:]
        boxes = random_boxes(keys, height, width, self.scale, self.ratio)
        return resized_crop(images, boxes, self.size or (height, width))


def random_boxes(
    keys: Tensor, height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float]
) -> Tensor:
    """Return ``(N, 4)`` int64 patches: top, left, height, width.

    Ten sizes are tried; if none fits, the patch is the largest one in the middle whose shape is allowed.
    """
    areas = uniform(split(fold_in(keys, 0), NUM_TRIES), *scale).double() * (height * width)
    ratios = uniform(split(fold_in(keys, 1), NUM_TRIES), log(ratio[0]), log(ratio[1])).double().exp()
    widths = (areas * ratios).sqrt().round().long()
    heights = (areas / ratios).sqrt().round().long()
    fits = (widths > 0) & (widths <= width) & (heights > 0) & (heights <= height)
    first = fits.long().argmax(dim=1, keepdim=True)
    found = fits.any(dim=1)
    middle_height, middle_width = middle_size(height, width, ratio)
    h = torch.where(found, heights.gather(1, first).squeeze(1), middle_height)
    w = torch.where(found, widths.gather(1, first).squeeze(1), middle_width)
    top = torch.where(found, random_integers(fold_in(keys, 2), 0, height - h + 1), (height - h) // 2)
    left = torch.where(found, random_integers(fold_in(keys, 3), 0, width - w + 1), (width - w) // 2)
    return torch.stack([top, left, h, w], dim=1)


def middle_size(height: int, width: int, ratio: tuple[float, float]) -> tuple[int, int]:
    """Return height and width of the largest patch whose width over height is allowed."""
    if width / height < min(ratio):
        return round(width / min(ratio)), width
    if width / height > max(ratio):
        return height, round(height * max(ratio))
    return height, width


def resized_crop(images: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Crop and resize the images, as ``resized_crop(..., antialias=True)`` of torchvision.

    It is a product with one interpolation matrix a side and a sample. torchvision's uint8 kernel rounds between the
    two sides and has fixed-point weights: it may differ by 1 of 255.

    Args:
        images: ``(N, C, H, W)`` uint8.
        boxes: ``(N, 4)`` int64: top, left, height, width.
        size: height and width of the result.

    Returns:
        ``(N, C, *size)`` uint8.
    """
    top, left, height, width = boxes.unbind(1)
    rows = interpolation_matrices(top, height, images.shape[2], size[0])
    columns = interpolation_matrices(left, width, images.shape[3], size[1])
    resized = rows.unsqueeze(1) @ (images.float() @ columns.transpose(1, 2).unsqueeze(1))
    return resized.round_().clamp_(0, 255).to(torch.uint8)


def interpolation_matrices(starts: Tensor, lengths: Tensor, num_inputs: int, num_outputs: int) -> Tensor:
    """Return the weights of input pixels in output pixels along one side: ``(N, num_outputs, num_inputs)`` float32.

    The weights are a triangle about the output pixel's centre, as wide as the larger of the two pixels.
    """
    scale = (lengths.float() / num_outputs).view(-1, 1, 1)
    support = scale.clamp(min=1)
    position = torch.arange(num_inputs, device=starts.device) - starts.view(-1, 1, 1)
    centers = scale * (torch.arange(num_outputs, device=starts.device).view(1, -1, 1) + 0.5)
    weights = (1 - ((position + 0.5 - centers) / support).abs()).clamp_(min=0)
    weights *= (position >= 0) & (position < lengths.view(-1, 1, 1))
    return weights / weights.sum(dim=2, keepdim=True)
