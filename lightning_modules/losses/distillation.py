"""Distillation from a teacher's logits (Hinton et al. 2015; hard labels: Touvron et al. 2021, DeiT).

    L = (1 - alpha) * CE(student, y) + alpha * T^2 * KL(softmax(teacher / T) || softmax(student / T))

The mean of the first term runs over labelled samples, that of the second over all; in masks, pixels that are 255 count
in neither. T^2 belongs to the second term wherever it stands: the gradient of the KL shrinks as 1/T^2, whether
or not there is a label beside it.
"""

from collections.abc import Callable
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from lightning_modules.losses.channel_wise import channel_wise_loss
from lightning_modules.losses.cross_entropy import IGNORED, cross_entropy


def soft_label_loss(
    student_logits: Tensor, teacher_logits: Tensor, temperature: float, valid: Tensor | None = None
) -> Tensor:
    """Return ``T^2 * KL(teacher || student)`` in float32: summed over classes, mean over samples or pixels.

    Args:
        student_logits: ``(N, K)`` or ``(N, K, H, W)``.
        teacher_logits: of the same shape.
        temperature: T above 0.
        valid: ``(N, H, W)`` bool, the pixels that count; default all. Without any the loss is 0.
    """
    log_student = F.log_softmax(student_logits.float() / temperature, dim=1)
    log_teacher = F.log_softmax(teacher_logits.float() / temperature, dim=1)
    if valid is not None:
        divergence = F.kl_div(log_student, log_teacher, reduction="none", log_target=True).sum(dim=1)
        return temperature**2 * divergence.masked_fill(~valid, 0).sum() / valid.sum().clamp(min=1)
    divergence = F.kl_div(log_student, log_teacher, reduction="sum", log_target=True)
    return divergence * (temperature**2 * student_logits.shape[1] / student_logits.numel())


def hard_label_loss(student_logits: Tensor, teacher_logits: Tensor, valid: Tensor | None = None) -> Tensor:
    """Return the cross-entropy with the teacher's most probable class, mean over samples or (valid) pixels."""
    labels = teacher_logits.argmax(dim=1)
    return cross_entropy(student_logits, labels if valid is None else labels.masked_fill(~valid, IGNORED))


def distillation_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    targets: Tensor,
    *,
    alpha: float,
    temperature: float,
    labels: Literal["soft", "hard", "channel_wise"] = "soft",
    supervised_loss: Callable[[Tensor, Tensor], Tensor] = cross_entropy,
) -> Tensor:
    """Return ``(1 - alpha) * CE + alpha * T^2 * KL``; with all ``targets`` -1 only the second term remains.

    Args:
        student_logits: ``(N, K)`` or ``(N, K, H, W)``.
        teacher_logits: of the same shape.
        targets: ``(N,)`` or ``(N, H, W)`` int64, -1 where unlabelled; masks are 255 where no term counts.
        alpha: weight of the distillation term, in 0..1.
        temperature: T above 0; hard labels have none.
        labels: with ``hard`` the second term is the cross-entropy with the teacher's most probable class, with
            ``channel_wise`` that of Shu et al. 2021; see ``channel_wise_loss``.
        supervised_loss: of logits and targets, in the place of CE.
    """
    supervised = supervised_loss(student_logits, targets)
    valid = targets != IGNORED if targets.ndim == 3 else None
    if labels == "hard":
        taught = hard_label_loss(student_logits, teacher_logits, valid)
    elif labels == "channel_wise":
        taught = channel_wise_loss(student_logits, teacher_logits, temperature, valid)
    else:
        taught = soft_label_loss(student_logits, teacher_logits, temperature, valid)
    return (1 - alpha) * supervised + alpha * taught
