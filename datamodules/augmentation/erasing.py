"""Random erasing: a random rectangle turns black (Zhong et al. 2020, arXiv:1708.04896)."""

from dataclasses import dataclass
from math import log

import torch
from torch import Tensor

from datamodules.augmentation.keys import fold_in, random_integers, split, uniform

NUM_TRIES = 10


@dataclass(frozen=True)
class RandomErasing:
    """Sets a random rectangle to zero in some of the images, as torchvision's ``RandomErasing``.

    Attributes:
        probability: share of the images that lose a rectangle.
        scale: range of the rectangle's area, as a fraction of the image's.
        ratio: range of the rectangle's height over its width.
    """

    probability: float = 0.5
    scale: tuple[float, float] = (0.02, 0.33)
    ratio: tuple[float, float] = (0.3, 3.3)

    def __call__(self, images: Tensor, keys: Tensor) -> Tensor:
        """Return ``(N, C, H, W)`` uint8 of ``images (N, C, H, W)`` uint8, steered by ``keys (N,)``."""
        height, width = images.shape[-2:]
        boxes = random_rectangles(keys, height, width, self.scale, self.ratio)
        happens = uniform(fold_in(keys, 4)) < self.probability
        return erase(images, boxes * happens.unsqueeze(1))


def random_rectangles(
    keys: Tensor, height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float]
) -> Tensor:
    """Return ``(N, 4)`` int64 rectangles: top, left, height, width.

    Ten sizes are tried; if none is smaller than the image on both sides, height and width are 0.
    """
    areas = uniform(split(fold_in(keys, 0), NUM_TRIES), *scale).double() * (height * width)
    ratios = uniform(split(fold_in(keys, 1), NUM_TRIES), log(ratio[0]), log(ratio[1])).double().exp()
    heights = (areas * ratios).sqrt().round().long()
    widths = (areas / ratios).sqrt().round().long()
    fits = (heights < height) & (widths < width)
    first = fits.long().argmax(dim=1, keepdim=True)
    h = heights.gather(1, first).squeeze(1) * fits.any(dim=1)
    w = widths.gather(1, first).squeeze(1) * fits.any(dim=1)
    top = random_integers(fold_in(keys, 2), 0, height - h + 1)
    left = random_integers(fold_in(keys, 3), 0, width - w + 1)
    return torch.stack([top, left, h, w], dim=1)


def erase(images: Tensor, boxes: Tensor) -> Tensor:
    """Set ``boxes (N, 4)``, top, left, height, width, of ``images (N, C, H, W)`` to zero."""
    return images.masked_fill(inside_boxes(boxes, *images.shape[-2:]), 0)


def inside_boxes(boxes: Tensor, height: int, width: int) -> Tensor:
    """Return ``(N, 1, H, W)`` bool, true inside ``boxes (N, 4)``: top, left, height, width."""
    top, left, box_height, box_width = boxes.view(-1, 4, 1, 1, 1).unbind(1)
    y = torch.arange(height, device=boxes.device).unsqueeze(1)
    x = torch.arange(width, device=boxes.device)
    return (y >= top) & (y < top + box_height) & (x >= left) & (x < left + box_width)
