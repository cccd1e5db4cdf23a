"""The batch: what datamodules hand to modules, and nothing else."""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from torch import Tensor


class Batch(NamedTuple):
    """Images with their targets and ids.

    Attributes:
        images: ``(N, C, H, W)`` float in ``[0, 1]``; networks apply their own mean and standard deviation.
        targets: ``(N,)`` or ``(N, H, W)`` int64, ``-1`` unlabelled and ``255`` ignored in masks; soft targets
            are ``(N, K)`` probabilities.
        ids: ``(N,)`` int64, stable within their source.
    """

    images: Tensor
    targets: Tensor
    ids: Tensor


class PixelBatch(NamedTuple):
    """A batch as it leaves the loader, before its view is made.

    Attributes:
        pixels: ``(N, C, H, W)`` uint8.
        targets: ``(N,)`` or ``(N, H, W)`` int64.
        ids: ``(N,)`` int64.
        epochs: ``(N,)`` int64, how often each sample was seen before; ``None`` in evaluation.
    """

    pixels: Tensor
    targets: Tensor
    ids: Tensor
    epochs: Tensor | None


ViewMaker: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Makes ``(N, C, H, W)`` images in ``[0, 1]`` of uint8 pixels, ids and epochs."""


Mixer: TypeAlias = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""Mixes images and targets of a batch, given its ids and epochs; returns soft targets ``(N, K)``."""


def make_batch(pixels: PixelBatch, view: ViewMaker, mixing: Mixer | None = None) -> Batch:
    """Return the batch that modules see: training images as ``view`` and ``mixing`` make them, others as they are."""
    if pixels.epochs is None:
        return Batch(unit_interval(pixels.pixels), pixels.targets, pixels.ids)
    images, targets = view(pixels.pixels, pixels.ids, pixels.epochs), pixels.targets
    if mixing is not None:
        images, targets = mixing(images, targets, pixels.ids, pixels.epochs)
    return Batch(images, targets, pixels.ids)


def unit_interval(pixels: Tensor) -> Tensor:
    """Return float32 in ``[0, 1]`` of uint8 pixels of any shape, as torchvision's ``v2.ToDtype(scale=True)`` has it."""
    return pixels.float().mul_(1 / 255)  # half the time of a division
