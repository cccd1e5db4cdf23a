"""Changes of brightness, contrast, colour and sharpness of whole batches, a strength a sample.

The functions take ``images (N, C, H, W)`` uint8, grey (``C = 1``) or RGB, and return the same. They compute what
the functionals of ``torchvision.transforms.v2`` compute. Where those blend, they round as the processor's fused
multiply-add does; so do these, and may differ by 1 of 255 from torchvision on a processor that has none.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from datamodules.augmentation.keys import fold_in, uniform

GREY_WEIGHTS = (0.2989, 0.587, 0.114)
"""Shares of red, green and blue in the luma (ITU-R 601-2)."""


@dataclass(frozen=True)
class ColorJitter:
    """Multiplies brightness, contrast and saturation, in this order, by factors in ``[1 - x, 1 + x]``.

    The ranges are those of torchvision's ``ColorJitter``; an ``x`` of 0 leaves that property as it is.
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0

    def __call__(self, images: Tensor, keys: Tensor) -> Tensor:
        """Return ``(N, C, H, W)`` uint8 of ``images (N, C, H, W)`` uint8, steered by ``keys (N,)``."""
        steps: list[tuple[Callable[[Tensor, Tensor], Tensor], float]] = [
            (adjust_brightness, self.brightness),
            (adjust_contrast, self.contrast),
            (adjust_saturation, self.saturation),
        ]
        for position, (adjust, strength) in enumerate(steps):
            if strength:
                factors = uniform(fold_in(keys, position), max(0.0, 1 - strength), 1 + strength)
                images = adjust(images, factors)
        return images


def adjust_brightness(images: Tensor, factors: Tensor) -> Tensor:
    """Multiply the pixels by ``factors (N,)``: 0 is black, 1 changes nothing."""
    return images.float().mul_(per_image(factors)).clamp_(0, 255).to(torch.uint8)


def adjust_contrast(images: Tensor, factors: Tensor) -> Tensor:
    """Blend each image with its mean grey: at ``factors (N,)`` 0 all of it is grey, 1 changes nothing."""
    # Whole numbers are summed, so the mean does not depend on the order of the summands.
    total = grey(images).sum(dim=(1, 2, 3), keepdim=True, dtype=torch.float64)
    return blend(images, total.float() / (images.shape[2] * images.shape[3]), factors)


def adjust_saturation(images: Tensor, factors: Tensor) -> Tensor:
    """Blend each image with its grey version: at ``factors (N,)`` 0 is grey, 1 changes nothing."""
    return images if images.shape[1] == 1 else blend(images, grey(images), factors)


def adjust_sharpness(images: Tensor, factors: Tensor) -> Tensor:
    """Blend each image with a blurred one: ``factors (N,)`` 0 is blurred, 1 unchanged, 2 sharp; borders stay."""
    height, width = images.shape[2:]
    if height <= 2 or width <= 2:
        return images
    pixels = images.float()
    inner = pixels[..., 1:-1, 1:-1]
    columns = pixels[..., :-2, :] + pixels[..., 1:-1, :] + pixels[..., 2:, :]
    box = columns[..., :-2] + columns[..., 1:-1] + columns[..., 2:]
    blurred = (box + 4 * inner).div_(13).round_()
    inner.copy_(multiply_add(blurred - inner, 1 - factors.double(), inner))
    return pixels.clamp_(0, 255).to(torch.uint8)


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    """Keep the upper ``bits (N,)`` int64 in ``[0, 8]`` of every pixel."""
    masks = 256 - 2 ** (8 - bits)
    return images & masks.to(torch.uint8).view(-1, 1, 1, 1)


def solarize(images: Tensor, thresholds: Tensor) -> Tensor:
    """Invert the pixels that are at least ``thresholds (N,)`` in ``[0, 255]``."""
    return torch.where(images >= thresholds.ceil().to(torch.uint8).view(-1, 1, 1, 1), 255 - images, images)


def autocontrast(images: Tensor) -> Tensor:
    """Stretch each channel so that its darkest pixel is 0 and its brightest 255; flat channels stay."""
    pixels = images.float()
    low, high = pixels.amin(dim=(2, 3), keepdim=True), pixels.amax(dim=(2, 3), keepdim=True)
    flat = low == high
    scale = (high - low).mul_(1 / 255).masked_fill_(flat, 1)
    return pixels.sub_(low.masked_fill_(flat, 0)).div_(scale).clamp_(0, 255).to(torch.uint8)


def equalize(images: Tensor) -> Tensor:
    """Spread each channel's grey levels evenly, by Pillow's histogram rule; channels of one level stay."""
    pixels = images.flatten(2).long()
    ones = torch.ones((), dtype=torch.int64, device=images.device).expand_as(pixels)
    histogram = torch.zeros(*images.shape[:2], 256, dtype=torch.int64, device=images.device)
    histogram.scatter_add_(2, pixels, ones)
    brightest = pixels.amax(dim=2, keepdim=True)
    step = (pixels.shape[2] - histogram.gather(2, brightest)) // 255
    darker = histogram.cumsum(dim=2) - histogram
    levels = ((darker + step // 2) // step.clamp(min=1)).clamp_(0, 255)
    unchanged = torch.arange(256, device=images.device)
    table = torch.where(step > 0, levels, unchanged).to(torch.uint8)
    return table.gather(2, pixels).view(images.shape)


def grey(images: Tensor) -> Tensor:
    """Return ``(N, 1, H, W)`` float32 whole numbers in ``[0, 255]``: the luma of RGB, or the grey image."""
    if images.shape[1] == 1:
        return images.float()
    red, green, blue = images.float().unsqueeze(2).unbind(1)
    luma = red.mul(GREY_WEIGHTS[0]).add_(green, alpha=GREY_WEIGHTS[1]).add_(blue, alpha=GREY_WEIGHTS[2])
    return luma.floor_()


def blend(images: Tensor, others: Tensor, factors: Tensor) -> Tensor:
    """Return ``factors · images + (1 − factors) · others``, clamped and truncated to uint8."""
    pixels = images.float().mul_(per_image(factors))
    return multiply_add(others, 1 - factors.double(), pixels).clamp_(0, 255).to(torch.uint8)


def multiply_add(images: Tensor, factors: Tensor, others: Tensor) -> Tensor:
    """Return ``factors (N,) · images + others`` in float32, rounded once, whatever the device's own rule is."""
    return (images.double() * per_image(factors).double() + others).float()


def per_image(numbers: Tensor) -> Tensor:
    """Return ``numbers (N,)`` as ``(N, 1, 1, 1)`` float32."""
    return numbers.float().view(-1, 1, 1, 1)
