"""Knowledge distillation, from any teacher to any student."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import MetricCollection

from lightning_modules.losses import cross_entropy, distillation_loss, with_auxiliary
from lightning_modules.metrics import ClassificationMetrics
from lightning_modules.schedules import Schedule
from lightning_modules.settings import DistillationSettings, OptimizerSettings, TransferSettings
from lightning_modules.student import StudentModule, SupervisedLoss
from lightning_modules.teacher import FrozenTeacher


class DistillationModule(StudentModule):
    """Learns from a frozen teacher and, where there are any, from true labels.

        L = (1 - alpha) * CE(student, y) + alpha * T^2 * KL(teacher || student)      (Hinton et al. 2015)

    Teacher and student see the same pixels. Batches may be labelled, unlabelled, or a dictionary of both.

    Args:
        student: takes images ``(N, C, H, W)`` in ``[0, 1]``, returns logits ``(N, K)`` or ``(N, K, H, W)``.
        teacher: likewise; frozen, and not part of checkpoints.
        num_classes: classes ``K``.
        distillation: temperature, alpha, soft or hard labels, and their schedules.
        optimizer: optimizer and schedule.
        metrics: what validation and test compute; default ``ClassificationMetrics``.
        supervised_loss: of logits and true targets, where another than cross-entropy is wanted.
        transfer: which layers of the student learn, and how fast; default all alike.
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        num_classes: int,
        *,
        distillation: DistillationSettings | None = None,
        optimizer: OptimizerSettings | None = None,
        metrics: MetricCollection | None = None,
        supervised_loss: SupervisedLoss = cross_entropy,
        transfer: TransferSettings | None = None,
    ) -> None:
        metrics = metrics or ClassificationMetrics(num_classes)
        super().__init__(
            student, metrics=metrics, supervised_loss=supervised_loss, optimizer=optimizer, transfer=transfer
        )
        self.teacher = FrozenTeacher(teacher)
        settings = distillation or DistillationSettings()
        self.labels = settings.labels
        self.temperature = Schedule(
            settings.temperature, settings.temperature_end or settings.temperature, settings.schedule
        )
        alpha_end = settings.alpha if settings.alpha_end is None else settings.alpha_end
        self.alpha = Schedule(settings.alpha, alpha_end, settings.schedule)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Return the distillation loss of a batch, or of a dictionary of batches taken together."""
        images, targets = join_streams(batch)
        student_logits, auxiliary = self.forward_with_auxiliary(images)
        teacher_logits = self.teacher(images)
        require_same_classes(student_logits, teacher_logits)
        loss_of = partial(
            distillation_loss,
            teacher_logits=teacher_logits,
            targets=targets,
            alpha=self.alpha(self.progress),
            temperature=self.temperature(self.progress),
            labels=self.labels,
            supervised_loss=self.supervised_loss,
        )
        loss = with_auxiliary(loss_of, student_logits, auxiliary)
        self.track(loss, student_logits, targets)
        return loss


def join_streams(batch: Any) -> tuple[Tensor, Tensor]:
    """Return images and targets of one batch, or of a dictionary of batches one after the other."""
    streams = batch.values() if isinstance(batch, dict) else [batch]
    images, targets = zip(*(stream[:2] for stream in streams), strict=True)
    if len(images) == 1:
        return images[0], targets[0]
    return torch.cat(images), torch.cat(targets)


def require_same_classes(student_logits: Tensor, teacher_logits: Tensor) -> None:
    """Raise a ``ValueError`` unless both have logits of one shape."""
    if student_logits.shape != teacher_logits.shape:
        raise ValueError(
            f"teacher: its logits are {tuple(teacher_logits.shape)}, the student's {tuple(student_logits.shape)}; "
            f"expected the same number of classes: a teacher trained on the student's "
            f"{student_logits.shape[1]} classes, not on {teacher_logits.shape[1]}"
        )
