"""Metrics of masks: all but the boundary's from one confusion matrix over the pixels of all images."""

import math
from typing import Any, ClassVar, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from lightning_modules.losses.cross_entropy import IGNORED
from lightning_modules.metrics import accuracy
from lightning_modules.settings import require

NUM_BYTES = 256
PIXELS_AT_ONCE = 1 << 13
"""Their logits of 21 classes take 0.7 MB, which stays in a core's cache."""
BOUNDARY_TOLERANCE = 0.0075
"""Share of the image's diagonal by which a boundary may be off."""


class SegmentationMetrics(MetricCollection):
    """Mean IoU and accuracy over the pixels of all images, not means over images; the boundary's F1 where asked.

    Updated with logits ``(N, K, H, W)`` or classes ``(N, H, W)``, and targets ``(N, H, W)``; -1 and 255 do not count.

    Args:
        num_classes: classes ``K``, up to 255.
        boundary: also compute ``boundary_f1``; see ``BoundaryCounts``.
    """

    measure: ClassVar[str] = "mean_iou"
    """What networks are chosen and compared by."""

    def __init__(self, num_classes: int, boundary: bool = False) -> None:
        metrics: dict[str, Any] = {"confusion_matrix": PixelConfusion(num_classes)}
        if boundary:
            metrics["boundary_f1"] = BoundaryCounts(num_classes)
        super().__init__(metrics)

    def compute(self) -> dict[str, Tensor]:
        """Return the scalars by name: fractions in 0..1; a mean is over the classes that occur.

        Raises:
            ValueError: targets or predictions held other classes than ``0..K-1``.
        """
        values = dict(super().compute())
        matrix = values.pop("confusion_matrix").double()
        mean_iou = class_ious(matrix).nanmean().nan_to_num()
        return {"mean_iou": mean_iou, "accuracy": accuracy(matrix)} | values

    def class_ious(self) -> Tensor:
        """Return the IoU of each class ``(K,)``, NaN where it neither occurs nor is predicted."""
        return class_ious(cast(PixelConfusion, self["confusion_matrix"]).compute().double())


class PixelConfusion(Metric):
    """Confusion matrix ``(K, K)`` of pixels: rows are true classes, columns predicted.

    Counts pairs of bytes, so that -1 and 255 fall into one row without being looked for.

    Args:
        num_classes: classes ``K``, up to 255.
        sync_on_compute: add the counts of all processes; false where each counts all images itself.
    """

    full_state_update = False
    counts: Tensor

    def __init__(self, num_classes: int, *, sync_on_compute: bool = True) -> None:
        super().__init__(sync_on_compute=sync_on_compute)
        require(
            1 <= num_classes <= IGNORED, "num_classes", num_classes, "1 to 255: masks are bytes, and 255 is no class"
        )
        self.num_classes = num_classes
        self.add_state("counts", torch.zeros(NUM_BYTES, NUM_BYTES, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Count the pixels of logits ``(N, K, H, W)`` or classes ``(N, H, W)``, and targets ``(N, H, W)``."""
        pairs = targets.to(torch.uint8).to(torch.int32).mul_(NUM_BYTES).add_(as_classes(predictions))
        self.counts += torch.bincount(pairs.flatten(), minlength=NUM_BYTES**2).view(NUM_BYTES, NUM_BYTES)

    def compute(self) -> Tensor:
        """Return the confusion matrix, int64.

        Raises:
            ValueError: targets or predictions held other classes than ``0..K-1``.
        """
        counts = self.counts[:IGNORED]
        require_classes("targets", counts.sum(dim=1), self.num_classes, "-1 (unlabelled) or 255 (ignored)")
        require_classes("predictions", counts.sum(dim=0), self.num_classes, "no NaN among the logits")
        return counts[: self.num_classes, : self.num_classes]


class BoundaryCounts(Metric):
    """F1 of the boundaries, mean over the classes that have any.

    After Csurka et al. 2013, "What is a good evaluation measure for semantic segmentation?", with precision and recall
    over all images. A pixel is on its class's boundary where it has a neighbour of another class beside, above or
    below. It is found where a boundary pixel of that class in the other mask is at most a tolerance away, horizontally
    and vertically: 0.75 % of the image's diagonal, one pixel at least. Boundaries next to -1 or 255 do not count.

    Args:
        num_classes: classes ``K``, up to 255.
    """

    full_state_update = False
    counts: Tensor

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        # Rows: predicted ones found, all predicted, true ones found, all true.
        self.add_state("counts", torch.zeros(4, num_classes, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Count the boundaries of logits ``(N, K, H, W)`` or classes ``(N, H, W)``, and targets ``(N, H, W)``."""
        true = targets.to(torch.uint8)
        predicted = as_classes(predictions).masked_fill(true == IGNORED, IGNORED)
        tolerance = max(1, round(BOUNDARY_TOLERANCE * math.hypot(*true.shape[-2:])))
        edges = on_boundary(predicted), on_boundary(true)
        for label in range(self.num_classes):
            of_class = edges[0] & (predicted == label), edges[1] & (true == label)
            near = [widen(pixels, tolerance) for pixels in of_class]
            found = of_class[0] & near[1], of_class[1] & near[0]
            pixels = torch.stack((found[0], of_class[0], found[1], of_class[1]))
            self.counts[:, label] += pixels.flatten(1).sum(dim=1)

    def compute(self) -> Tensor:
        """Return the mean F1, in 0..1."""
        predicted_found, predicted, true_found, true = self.counts.double()
        precision, recall = predicted_found / predicted.clamp(min=1), true_found / true.clamp(min=1)
        total = precision + recall
        f1 = 2 * precision * recall / total.masked_fill(total == 0, 1)
        mean: Tensor = f1.sum() / (predicted + true > 0).sum().clamp(min=1)
        return mean


def class_ious(confusion_matrix: Tensor) -> Tensor:
    """Return the IoU of each class ``(K,)`` of ``(K, K)`` float, NaN where it neither occurs nor is predicted."""
    correct = confusion_matrix.diagonal()
    return correct / (confusion_matrix.sum(dim=0) + confusion_matrix.sum(dim=1) - correct)


def as_classes(predictions: Tensor) -> Tensor:
    """Return ``(N, H, W)`` uint8 of logits ``(N, K, H, W)`` or of classes ``(N, H, W)``."""
    return most_probable_classes(predictions) if predictions.ndim == 4 else predictions.to(torch.uint8)


def most_probable_classes(logits: Tensor) -> Tensor:
    """Return ``logits.argmax(dim=1)`` of ``(N, K, H, W)`` as ``(N, H, W)`` uint8, up to 255 classes; NaN gives 255.

    PyTorch's own on a processor compares one number at a time, in ten times as long; NumPy compares many.
    """
    if logits.device.type != "cpu":
        return logits.argmax(dim=1).to(torch.uint8)
    num_images, num_classes, height, width = logits.shape
    assert num_classes <= IGNORED, "masks are bytes, of which 255 is no class"
    ranks = np.arange(255, 255 - num_classes, -1, dtype=np.uint8).reshape(-1, 1, 1)
    classes = np.empty((num_images, height, width), np.uint8)
    num_rows = max(1, PIXELS_AT_ONCE // width)
    for image, mask in zip(logits.detach(), classes, strict=True):
        layers = image if image.stride(-1) == 1 else image.contiguous()
        for top in range(0, height, num_rows):
            values = layers[:, top : top + num_rows].float().numpy()
            is_largest = (values == values.max(axis=0)).view(np.uint8)
            np.subtract(255, np.multiply(is_largest, ranks, out=is_largest).max(axis=0), out=mask[top : top + num_rows])
    return torch.from_numpy(classes)


def on_boundary(masks: Tensor) -> Tensor:
    """Return where a pixel of masks ``(N, H, W)`` uint8 has a neighbour of another class; 255 is none."""
    result = torch.zeros_like(masks, dtype=torch.bool)
    known = masks != IGNORED
    for dim in (1, 2):
        length = masks.shape[dim] - 1
        first, second = masks.narrow(dim, 0, length), masks.narrow(dim, 1, length)
        differ = (first != second) & known.narrow(dim, 0, length) & known.narrow(dim, 1, length)
        result.narrow(dim, 0, length).logical_or_(differ)
        result.narrow(dim, 1, length).logical_or_(differ)
    return result


def widen(pixels: Tensor, distance: int) -> Tensor:
    """Return where a pixel of ``(N, H, W)`` bool is at most ``distance`` away, horizontally and vertically."""
    return F.max_pool2d(pixels.float(), 2 * distance + 1, stride=1, padding=distance) > 0


def require_classes(what: str, counts: Tensor, num_classes: int, otherwise: str) -> None:
    """Raise a ``ValueError`` unless all counted values are classes."""
    wrong = counts[num_classes:].nonzero().flatten() + num_classes
    if len(wrong):
        values = ", ".join(map(str, wrong[:5].tolist()))
        raise ValueError(f"{what}: got {values} in masks, expected classes 0..{num_classes - 1}, and {otherwise}")
