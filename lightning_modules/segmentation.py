"""Supervised semantic segmentation."""

import torch
from torch import Tensor, nn

from lightning_modules.losses import segmentation_loss
from lightning_modules.segmentation_metrics import SegmentationMetrics
from lightning_modules.settings import MaskLossSettings, OptimizerSettings, TransferSettings, require
from lightning_modules.student import StudentModule


class SegmentationModule(StudentModule):
    """Learns from images with masks by cross-entropy, Dice and focal loss, weighted.

    Args:
        network: takes images ``(N, C, H, W)`` in ``[0, 1]``, returns logits ``(N, K, H, W)``.
        num_classes: classes ``K``.
        mask_loss: the weights.
        optimizer: optimizer and schedule.
        transfer: which layers learn, and how fast; default all alike.
        boundary: validation and test also compute the F1 of the boundaries.
    """

    def __init__(
        self,
        network: nn.Module,
        num_classes: int,
        *,
        mask_loss: MaskLossSettings | None = None,
        optimizer: OptimizerSettings | None = None,
        transfer: TransferSettings | None = None,
        boundary: bool = False,
    ) -> None:
        super().__init__(
            network,
            metrics=SegmentationMetrics(num_classes, boundary),
            supervised_loss=MaskLoss(num_classes, mask_loss or MaskLossSettings()),
            optimizer=optimizer,
            transfer=transfer,
        )


class MaskLoss(nn.Module):
    """The weighted sum of ``segmentation_loss`` with fixed weights.

    Args:
        num_classes: classes ``K``.
        settings: the weights.

    Raises:
        ValueError: there are not as many class weights as classes.
    """

    class_weights: Tensor | None

    def __init__(self, num_classes: int, settings: MaskLossSettings) -> None:
        super().__init__()
        weights = settings.class_weights
        expected = f"one number for each of the {num_classes} classes, or null"
        require(weights is None or len(weights) == num_classes, "mask_loss.class_weights", weights, expected)
        self.settings = settings
        # Not part of checkpoints, but moved with the module to its device.
        self.register_buffer("class_weights", None if weights is None else torch.tensor(weights), persistent=False)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of logits ``(N, K, H, W)`` and masks ``(N, H, W)``, a scalar."""
        return segmentation_loss(
            logits,
            targets,
            cross_entropy_weight=self.settings.cross_entropy_weight,
            dice_weight=self.settings.dice_weight,
            focal_weight=self.settings.focal_weight,
            focal_gamma=self.settings.focal_gamma,
            class_weights=self.class_weights,
        )
