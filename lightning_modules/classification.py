"""Supervised image classification."""

from functools import partial

from torch import nn

from lightning_modules.losses import cross_entropy
from lightning_modules.metrics import ClassificationMetrics
from lightning_modules.settings import OptimizerSettings, TransferSettings, require
from lightning_modules.student import StudentModule, SupervisedLoss


class ClassificationModule(StudentModule):
    """Learns from labelled images by cross-entropy.

    Args:
        network: takes images ``(N, C, H, W)`` in ``[0, 1]``, returns logits ``(N, K)``.
        num_classes: classes ``K``.
        optimizer: optimizer and schedule.
        label_smoothing: mass that is spread evenly over the classes, in [0, 1).
        transfer: which layers learn, and how fast; default all alike.
    """

    def __init__(
        self,
        network: nn.Module,
        num_classes: int,
        *,
        optimizer: OptimizerSettings | None = None,
        label_smoothing: float = 0.0,
        transfer: TransferSettings | None = None,
    ) -> None:
        super().__init__(
            network,
            metrics=ClassificationMetrics(num_classes),
            supervised_loss=smoothed_cross_entropy(label_smoothing),
            optimizer=optimizer,
            transfer=transfer,
        )


def smoothed_cross_entropy(label_smoothing: float) -> SupervisedLoss:
    """Return the cross-entropy with part of its targets' mass spread evenly over the classes.

    Raises:
        ValueError: that part is not in [0, 1).
    """
    require(0 <= label_smoothing < 1, "label_smoothing", label_smoothing, "a number in [0, 1)")
    return partial(cross_entropy, label_smoothing=label_smoothing)
