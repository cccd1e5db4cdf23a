"""Metrics of class logits, read off as few states as there can be."""

from typing import Any, ClassVar

from torch import Tensor
from torchmetrics import MetricCollection
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassCalibrationError,
    MulticlassConfusionMatrix,
)

from lightning_modules.losses.cross_entropy import UNLABELED

TOP_K = 5


class ClassificationMetrics(MetricCollection):
    """Accuracy, macro F1, calibration error and, with more than five classes, top-5 accuracy.

    Accuracy and F1 are read from one confusion matrix. The calibration error is the expected one over 15 bins of
    confidence (Guo et al. 2017). Updated with ``logits (N, K)`` and ``targets (N,)``; -1 is not counted.
    """

    measure: ClassVar[str] = "accuracy"
    """What networks are chosen and compared by."""

    def __init__(self, num_classes: int) -> None:
        options: dict[str, Any] = {"ignore_index": UNLABELED, "validate_args": False}
        metrics: dict[str, Any] = {
            "confusion_matrix": MulticlassConfusionMatrix(num_classes, **options),
            "calibration_error": MulticlassCalibrationError(num_classes, **options),
        }
        if num_classes > TOP_K:
            metrics[f"accuracy_top{TOP_K}"] = MulticlassAccuracy(num_classes, top_k=TOP_K, average="micro", **options)
        super().__init__(metrics)

    def update(self, logits: Tensor, targets: Tensor) -> None:  # type: ignore[override]
        """Count a batch. (torchmetrics would take logits that all lie in [0, 1] for probabilities.)"""
        super().update(logits.float().log_softmax(dim=1), targets)

    def compute(self) -> dict[str, Tensor]:
        """Return the scalars by name: fractions in 0..1."""
        values = dict(super().compute())
        matrix = values.pop("confusion_matrix").double()
        return {"accuracy": accuracy(matrix), "f1": macro_f1(matrix)} | values


def accuracy(confusion_matrix: Tensor) -> Tensor:
    """Return the share of samples on the diagonal of ``(K, K)``: rows are true classes, columns predicted."""
    return confusion_matrix.diagonal().sum() / confusion_matrix.sum().clamp(min=1)


def macro_f1(confusion_matrix: Tensor) -> Tensor:
    """Return the mean F1 over the classes that occur, as truth or as prediction, in ``(K, K)``."""
    occurrences = confusion_matrix.sum(dim=0) + confusion_matrix.sum(dim=1)
    f1 = 2 * confusion_matrix.diagonal() / occurrences.clamp(min=1)
    return f1.sum() / (occurrences > 0).sum().clamp(min=1)
