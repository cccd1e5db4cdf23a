"""Losses: pure functions, tensors in, scalar out."""

from lightning_modules.losses.auxiliary import AUXILIARY_WEIGHT, with_auxiliary
from lightning_modules.losses.channel_wise import channel_wise_loss
from lightning_modules.losses.cross_entropy import cross_entropy, known_targets
from lightning_modules.losses.dice import dice_loss
from lightning_modules.losses.distillation import distillation_loss, hard_label_loss, soft_label_loss
from lightning_modules.losses.focal import focal_loss
from lightning_modules.losses.segmentation import segmentation_loss

__all__ = [
    "AUXILIARY_WEIGHT",
    "channel_wise_loss",
    "cross_entropy",
    "dice_loss",
    "distillation_loss",
    "focal_loss",
    "hard_label_loss",
    "known_targets",
    "segmentation_loss",
    "soft_label_loss",
    "with_auxiliary",
]
