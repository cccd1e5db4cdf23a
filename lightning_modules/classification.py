"""Supervised image classification."""

from functools import partial
from typing import Any

from torch import Tensor, nn

from lightning_modules.losses import cross_entropy, with_auxiliary
from lightning_modules.metrics import ClassificationMetrics
from lightning_modules.settings import OptimizerSettings, TransferSettings, require
from lightning_modules.student import StudentModule


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
        super().__init__(network, metrics=ClassificationMetrics(num_classes), optimizer=optimizer, transfer=transfer)
        require(0 <= label_smoothing < 1, "label_smoothing", label_smoothing, "a number in [0, 1)")
        self.label_smoothing = label_smoothing

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Return the cross-entropy of a batch ``(images, targets, ...)``."""
        images, targets, *_ = batch
        logits, auxiliary = self.forward_with_auxiliary(images)
        loss = with_auxiliary(
            partial(cross_entropy, targets=targets, label_smoothing=self.label_smoothing), logits, auxiliary
        )
        self.track(loss, logits, targets)
        return loss
