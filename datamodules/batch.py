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
        targets: ``(N,)`` int64, or masks ``(N, H, W)`` uint8.
        ids: ``(N,)`` int64.
        epochs: ``(N,)`` int64, how often each sample was seen before; ``None`` in evaluation.
    """

    pixels: Tensor
    targets: Tensor
    ids: Tensor
    epochs: Tensor | None


ViewMaker: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Makes ``(N, C, H, W)`` images in ``[0, 1]`` of uint8 pixels, ids and epochs.

One for images with masks has a method ``masks`` too: given uint8 masks, ids and epochs, it moves them as the images.
"""


Mixer: TypeAlias = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""Mixes images and targets of a batch, given its ids and epochs; returns soft targets ``(N, K)``, or masks."""


def make_batch(pixels: PixelBatch, view: ViewMaker, mixing: Mixer | None = None) -> Batch:
    """Return the batch that modules see: training images as ``view`` and ``mixing`` make them, others as they are.

    Raises:
        ValueError: targets are masks, and the view cannot move them.
    """
    if pixels.epochs is None:
        return Batch(unit_interval(pixels.pixels), pixels.targets.long(), pixels.ids)
    images, targets = view(pixels.pixels, pixels.ids, pixels.epochs), pixels.targets
    if targets.ndim == 3:
        move = getattr(view, "masks", None)
        if move is None:
            raise ValueError(
                f"view: got a {type(view).__name__}, which would move images and leave their masks behind; expected a "
                "MaskView"
            )
        targets = move(targets, pixels.ids, pixels.epochs)
    if mixing is not None:
        images, targets = mixing(images, targets, pixels.ids, pixels.epochs)
    return Batch(images, targets if targets.is_floating_point() else targets.long(), pixels.ids)


def unit_interval(pixels: Tensor) -> Tensor:
    """Return float32 in ``[0, 1]`` of uint8 pixels of any shape, as torchvision's ``v2.ToDtype(scale=True)`` has it."""
    return pixels.float().mul_(1 / 255)  # half the time of a division
