"""Losses: pure functions, tensors in, scalar out."""

from lightning_modules.losses.cross_entropy import cross_entropy
from lightning_modules.losses.distillation import distillation_loss, hard_label_loss, soft_label_loss

__all__ = ["cross_entropy", "distillation_loss", "hard_label_loss", "soft_label_loss"]
