"""Losses: pure functions, tensors in, scalar out."""

from lightning_modules.losses.auxiliary import AUXILIARY_WEIGHT, with_auxiliary
from lightning_modules.losses.cross_entropy import cross_entropy
from lightning_modules.losses.distillation import distillation_loss, hard_label_loss, soft_label_loss

__all__ = [
    "AUXILIARY_WEIGHT",
    "cross_entropy",
    "distillation_loss",
    "hard_label_loss",
    "soft_label_loss",
    "with_auxiliary",
]
