"""Distillation from a teacher's logits (Hinton et al. 2015; hard labels: Touvron et al. 2021, DeiT).

    L = (1 - alpha) * CE(student, y) + alpha * T^2 * KL(softmax(teacher / T) || softmax(student / T))

The mean of the first term runs over labelled samples, that of the second over all. T^2 belongs to the second
term wherever it stands: the gradient of the KL shrinks as 1/T^2, whether or not there is a label beside it.
"""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from lightning_modules.losses.cross_entropy import cross_entropy


def soft_label_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """Return ``T^2 * KL(teacher || student)`` in float32: summed over classes, mean over samples or pixels.

    Args:
        student_logits: ``(N, K)`` or ``(N, K, H, W)``.
        teacher_logits: of the same shape.
        temperature: T above 0.
    """
    log_student = F.log_softmax(student_logits.float() / temperature, dim=1)
    log_teacher = F.log_softmax(teacher_logits.float() / temperature, dim=1)
    divergence = F.kl_div(log_student, log_teacher, reduction="sum", log_target=True)
    return divergence * (temperature**2 * student_logits.shape[1] / student_logits.numel())


def hard_label_loss(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """Return the cross-entropy with the teacher's most probable class, mean over samples or pixels."""
    return F.cross_entropy(student_logits.float(), teacher_logits.argmax(dim=1))


def distillation_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    targets: Tensor,
    *,
    alpha: float,
    temperature: float,
    labels: Literal["soft", "hard"] = "soft",
) -> Tensor:
    """Return ``(1 - alpha) * CE + alpha * T^2 * KL``; with all ``targets`` -1 only the second term remains.

    Args:
        student_logits: ``(N, K)`` or ``(N, K, H, W)``.
        teacher_logits: of the same shape.
        targets: ``(N,)`` or ``(N, H, W)`` int64, -1 where unlabelled.
        alpha: weight of the distillation term, in 0..1.
        temperature: T above 0; hard labels have none.
        labels: with ``hard`` the second term is the cross-entropy with the teacher's most probable class.
    """
    supervised = cross_entropy(student_logits, targets)
    if labels == "hard":
        taught = hard_label_loss(student_logits, teacher_logits)
    else:
        taught = soft_label_loss(student_logits, teacher_logits, temperature)
    return (1 - alpha) * supervised + alpha * taught
