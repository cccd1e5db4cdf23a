"""Which pixels of pseudo-masks are taught: counting confidences, choosing thresholds, reading what reaches them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from datamodules.pseudo_labels import PseudoLabels
from datamodules.pseudo_mask_files import PseudoMasks
from datamodules.selection import Labels, Selection, Summary, class_thresholds, require_classes
from datamodules.sources.source import IGNORE_INDEX, Samples

NUM_LEVELS = 256
LEVELS = torch.arange(NUM_LEVELS, dtype=torch.float32) / (NUM_LEVELS - 1)
"""Confidences as they are stored."""


@dataclass(frozen=True)
class PixelCounts:
    """How many pixels of a table's pseudo-masks there are of each kind.

    Attributes:
        joint: ``(K + 1, K, 256)`` int64, by true class, the last where it is unknown, pseudo-label and confidence.
        highest: ``(N, K)`` int16, the highest confidence in 255ths of an image's pixels of a class, -1 without any.
    """

    joint: Tensor
    highest: Tensor

    @property
    def by_level(self) -> Tensor:
        """``(K, 256)`` int64, by pseudo-label and confidence."""
        return self.joint.sum(dim=0)


@dataclass(frozen=True)
class MaskSelection(Selection):
    """The images that have pixels to teach; each is there once, and ``targets`` are 0: the mask may be read.

    Attributes:
        least_levels: ``(K,)`` int64, the least confidence in 255ths of what is taught of a class.
    """

    least_levels: Tensor


class TaughtMasks:
    """Reads the pseudo-masks of rows of a storage of images, 255 where a pixel is not taught.

    Args:
        masks: of ``N`` images.
        rows: ``(N,)`` int64, the storage's rows of the images.
        least_levels: see ``MaskSelection``.
    """

    def __init__(self, masks: PseudoMasks, rows: Tensor, least_levels: Tensor) -> None:
        self.masks = masks
        self.rows, self.positions = rows.sort()
        self.least_levels = least_levels

    def __call__(self, rows: Tensor) -> Tensor:
        """Return ``(n, H, W)`` uint8 classes of the images in ``rows (n,)``.

        Raises:
            ValueError: a file is missing, or another than the table was written with.
        """
        taught = torch.empty(len(rows), *self.size, dtype=torch.uint8)
        positions = self.positions[torch.searchsorted(self.rows, rows)]
        for mask, position in zip(taught, positions.tolist(), strict=True):
            classes, levels = self.masks.read(position)
            mask.copy_(classes.masked_fill(levels < self.least_levels[classes.int()], IGNORE_INDEX))
        return taught

    @property
    def fingerprint(self) -> bytes:
        """Digest of the table's masks, and from which confidence on a class is taught."""
        return repr((self.masks.folder.name, self.least_levels.tolist())).encode()

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a mask in pixels."""
        return self.masks.size


def open_masks(table: PseudoLabels, size: tuple[int, int]) -> PseudoMasks:
    """Return the pseudo-masks of a table that was read from a file, of images of one height and width.

    Raises:
        ValueError: the list of its files is missing or another.
    """
    assert table.masks is not None, "a table has masks where PseudoLabels.read found their digest"
    assert table.metadata.masks is not None, "they come together"
    return PseudoMasks(table.masks, table.metadata.masks, table.ids, table.num_classes, size)


def count_pixels(masks: PseudoMasks, truth: Samples | None = None) -> PixelCounts:
    """Return the counts of all pixels; each file is read once.

    Args:
        masks: of ``N`` images.
        truth: the same images in the same order, with their true masks; ``None`` leaves these alone.

    Raises:
        ValueError: a file is missing, or another than the table was written with.
    """
    num_classes = masks.num_classes
    joint = torch.zeros(num_classes + 1, num_classes, NUM_LEVELS, dtype=torch.int64)
    highest = torch.full((len(masks), num_classes), -1, dtype=torch.int16)
    unknown = torch.full(masks.size, IGNORE_INDEX, dtype=torch.uint8)
    for position in range(len(masks)):
        classes, levels = masks.read(position)
        true = unknown if truth is None else truth.read_targets(torch.tensor([position]))[0]
        places = true.long().clamp(max=num_classes).mul(num_classes).add(classes).mul(NUM_LEVELS).add(levels).flatten()
        joint.view(-1).scatter_add_(0, places, torch.ones_like(places))
        highest[position].scatter_reduce_(0, classes.long().flatten(), levels.short().flatten(), "amax")
    return PixelCounts(joint, highest)


def select_pixels(
    table: PseudoLabels,
    counts: PixelCounts,
    *,
    confidence_threshold: float | Sequence[float] = 0.0,
    balance: bool = False,
    max_per_class: int | None = None,
    labels: Labels = "hard",
) -> MaskSelection:
    """Return the images of which pixels are taught, and from which confidence on those are.

    Confidences are compared as they are stored, rounded to 1/255.

    Args:
        table: the teacher's pseudo-masks.
        counts: of their pixels.
        confidence_threshold: least confidence of a pixel, in 0..1; or one a class.
        balance: give each class a threshold of its own, see ``balanced_levels``.
        max_per_class: for classes alone.
        labels: ``hard``.

    Raises:
        ValueError: an option is out of range or not for masks, or leaves no pixel, or one class.
    """
    require_mask_options(labels, max_per_class)
    thresholds = class_thresholds(confidence_threshold, table.num_classes)
    by_level = counts.by_level
    least_levels = (thresholds.unsqueeze(1) > LEVELS).sum(dim=1)
    if balance:
        least_levels = balanced_levels(by_level, least_levels)
    pixels = count_reaching(by_level, least_levels)
    available = f"{int(by_level.sum())} pixels of the pseudo-masks"
    occurring = LEVELS[by_level.sum(dim=0) > 0]
    require_classes(table.metadata.class_names, pixels, confidence_threshold, available, occurring)
    images = (counts.highest >= least_levels).any(dim=1).nonzero().squeeze(1)
    return MaskSelection(
        ids=table.ids[images],
        targets=torch.zeros_like(images),
        confidences=table.confidences[images],
        repeats=torch.zeros_like(images),
        copies=torch.ones_like(images),
        summary=summarize(table, images, pixels),
        least_levels=least_levels,
    )


def summarize(table: PseudoLabels, images: Tensor, pixels: Tensor) -> Summary:
    """Return the counts of a selection of ``images (n,)``, of each class ``pixels (K,)``."""
    number, per_class = len(images), pixels.tolist()
    return Summary(pool=len(table), num_selected=number, num_rows=number, per_class=per_class, rows_per_class=per_class)


def balanced_levels(by_level: Tensor, least_levels: Tensor) -> Tensor:
    """Return ``(K,)`` int64 least levels that take the same share of every class's pixels, its most confident.

    After Zou et al. 2018, "Unsupervised domain adaptation for semantic segmentation via class-balanced self-training",
    ECCV: a class on which the teacher is less confident is not left out. The share is that of all pixels which reach
    the given levels; of a class, pixels as confident as its last one exceed it.

    Args:
        by_level: ``(K, 256)`` int64 pixels.
        least_levels: ``(K,)`` int64.
    """
    num_confident = int(count_reaching(by_level, least_levels).sum())
    if num_confident == 0:
        return least_levels
    reaching = by_level.flip(1).cumsum(dim=1).flip(1).double()  # pixels of this level or a higher one
    shares = reaching / reaching[:, :1].clamp(min=1)
    return (shares >= num_confident / int(by_level.sum())).sum(dim=1).sub(1).clamp(min=0)


def count_reaching(by_level: Tensor, least_levels: Tensor) -> Tensor:
    """Return ``(K,)`` int64, how many of the pixels ``by_level (K, 256)`` reach ``least_levels (K,)``."""
    return (by_level * is_taught(least_levels)).sum(dim=1)


def is_taught(least_levels: Tensor) -> Tensor:
    """Return ``(K, 256)`` bool: whether pixels of a class and a confidence are taught."""
    return torch.arange(NUM_LEVELS) >= least_levels.unsqueeze(1)


def require_mask_options(labels: str, max_per_class: int | None, align: bool = False) -> None:
    """Raise a ``ValueError`` unless masks can be selected like that."""
    if labels != "hard":
        raise ValueError(
            f"labels: got {labels!r}, expected 'hard' for images with masks: a pseudo-mask keeps one class a pixel, "
            "and no probabilities of the others"
        )
    if max_per_class is not None:
        raise ValueError(
            f"max_per_class: got {max_per_class}, expected none for images with masks, which hold many classes at "
            "once; choose the share of their pixels with confidence_threshold and balance"
        )
    if align:
        raise ValueError(
            "align: got true, expected false for images with masks, of whose pixels a pseudo-mask keeps one class and "
            "no probabilities of the others; choose the share of their pixels with confidence_threshold and balance"
        )
