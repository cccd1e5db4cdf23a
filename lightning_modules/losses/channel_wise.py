"""Channel-wise distillation of dense maps (Shu et al. 2021, "Channel-wise knowledge distillation", equations 2 to 4).

    L = T^2 / K * sum over classes of KL(softmax(teacher / T) || softmax(student / T))

Each softmax runs over the pixels of one class, so the student learns where a class is, and not how it compares with
other classes at a pixel.
"""

import torch.nn.functional as F
from torch import Tensor

EXCLUDED = -1e9
"""Logit of pixels that do not count: their probability is 0, and unlike with -inf the KL stays a number."""


def channel_wise_loss(
    student_logits: Tensor, teacher_logits: Tensor, temperature: float, valid: Tensor | None = None
) -> Tensor:
    """Return ``T^2 * KL(teacher || student)`` over the pixels of a class in float32, mean over classes and images.

    Args:
        student_logits: ``(N, K, H, W)``.
        teacher_logits: of the same shape.
        temperature: T above 0.
        valid: ``(N, H, W)`` bool, the pixels that count; default all.

    Raises:
        ValueError: the logits are not dense.
    """
    if student_logits.ndim != 4:
        raise ValueError(
            f"distillation.labels: got 'channel_wise' with logits of shape {tuple(student_logits.shape)}, expected "
            "(N, K, H, W); networks that classify whole images learn from 'soft' or 'hard' labels"
        )
    log_student, log_teacher = (
        F.log_softmax(flatten_pixels(logits, valid) / temperature, dim=2) for logits in (student_logits, teacher_logits)
    )
    divergence = F.kl_div(log_student, log_teacher, reduction="sum", log_target=True)
    return divergence * (temperature**2 / (student_logits.shape[0] * student_logits.shape[1]))


def flatten_pixels(logits: Tensor, valid: Tensor | None) -> Tensor:
    """Return ``(N, K, H * W)`` float32 of ``(N, K, H, W)``, very low where a pixel is not valid."""
    logits = logits.float()
    return (logits if valid is None else logits.masked_fill(~valid.unsqueeze(1), EXCLUDED)).flatten(2)
