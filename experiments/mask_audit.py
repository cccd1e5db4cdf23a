"""The hidden-truth audit of pseudo-masks: how right their pixels are, where the pool's true masks are known."""

from typing import Any

import torch
from torch import Tensor

from datamodules.pseudo_labels import PseudoLabels
from datamodules.pseudo_mask_files import PseudoMasks
from datamodules.pseudo_masks import LEVELS, MaskSelection, PixelCounts, is_taught, open_masks
from experiments.audit import calibration_error, class_rows, confidence_bins, require_same_classes, share
from lightning_modules.segmentation_metrics import class_ious


def audit_masks(
    table: PseudoLabels,
    selection: MaskSelection,
    counts: PixelCounts,
    masks: PseudoMasks,
    previous: PseudoLabels | None = None,
) -> dict[str, Any]:
    """Return what ``audit`` returns, of pixels: plain numbers, ``None`` where there is nothing to count.

    ``pool`` and ``selected`` alone count images; all else, that of the classes too, counts pixels. ``mean_iou`` is that
    of the pseudo-masks, the mean over the classes that occur, ``mean_iou_selected`` that of the selected pixels; each
    class also has its ``iou``. Confidences are those of the files, rounded to 1/255.

    Args:
        table: pseudo-masks of the pool.
        selection: which pixels are taught.
        counts: of the pixels, by true class where it is known.
        masks: the table's.
        previous: the table of the round before.

    Raises:
        ValueError: the previous table has other classes, or a mask is damaged.
    """
    known = counts.joint[:-1]
    everything, selected = known.sum(dim=2), (known * is_taught(selection.least_levels)).sum(dim=2)
    reliability = pixel_reliability(known)
    return {
        "pool": len(table),
        "selected": len(selection),
        "selected_share": share(sum(selection.summary["per_class"]), int(counts.joint.sum())),
        "accuracy": share(int(everything.trace()), int(everything.sum())),
        "accuracy_selected": share(int(selected.trace()), int(selected.sum())),
        "mean_iou": mean_iou(everything),
        "mean_iou_selected": mean_iou(selected),
        "per_class": per_class(table, selection, counts, everything, selected),
        "calibration_error": None if reliability is None else calibration_error(reliability),
        "changed": None if previous is None else num_changed_pixels(table, masks, previous),
        "reliability": reliability,
    }


def per_class(
    table: PseudoLabels, selection: MaskSelection, counts: PixelCounts, everything: Tensor, selected: Tensor
) -> list[dict[str, Any]]:
    """Return the numbers of each class, in the order of the classes.

    Args:
        table: pseudo-masks.
        selection: which pixels are taught.
        counts: of the pixels.
        everything: ``(K, K)`` int64, of known pixels by true class and pseudo-label.
        selected: ``(K, K)`` int64, likewise of those that are taught.
    """
    rows = class_rows(
        table.metadata.class_names,
        pool=counts.by_level.sum(dim=1).tolist(),
        selected=selection.summary["per_class"],
        judged=everything.sum(dim=0).tolist(),
        right=everything.diagonal().tolist(),
        judged_selected=selected.sum(dim=0).tolist(),
        right_selected=selected.diagonal().tolist(),
        occurring=everything.sum(dim=1).tolist(),
    )
    ious = class_ious(everything.double()).tolist()
    return [row | {"iou": None if iou != iou else iou} for row, iou in zip(rows, ious, strict=True)]  # NaN is not NaN


def mean_iou(confusion_matrix: Tensor) -> float | None:
    """Return the mean IoU over the classes that occur, of pixels ``(K, K)``; ``None`` of no pixel."""
    if not confusion_matrix.any():
        return None
    return float(class_ious(confusion_matrix.double()).nanmean())


def pixel_reliability(known: Tensor) -> list[dict[str, Any]] | None:
    """Return the bins of ``reliability_bins``, of pixels ``(K, K, 256)`` by true class, pseudo-label and confidence."""
    counts, right = known.sum(dim=(0, 1)), known.diagonal().sum(dim=1)
    return confidence_bins(LEVELS, counts, right) if counts.any() else None


def num_changed_pixels(table: PseudoLabels, masks: PseudoMasks, previous: PseudoLabels) -> int:
    """Return how many pixels of the images of both tables have another class than before.

    Raises:
        ValueError: the classes differ, so masks cannot be compared, or a mask is damaged.
    """
    require_same_classes(table, previous)
    earlier = open_masks(previous, masks.size)
    common = torch.isin(masks.ids, earlier.ids).nonzero().squeeze(1)
    places = torch.searchsorted(earlier.ids, masks.ids[common])
    pairs = zip(common.tolist(), places.tolist(), strict=True)
    return sum(int((masks.read(now)[0] != earlier.read(before)[0]).sum()) for now, before in pairs)
