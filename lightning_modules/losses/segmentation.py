"""The supervised loss of masks: cross-entropy, Dice and focal loss, weighted."""

from torch import Tensor

from lightning_modules.losses.cross_entropy import cross_entropy
from lightning_modules.losses.dice import dice_loss
from lightning_modules.losses.focal import focal_loss


def segmentation_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    cross_entropy_weight: float = 1.0,
    dice_weight: float = 1.0,
    focal_weight: float = 0.0,
    focal_gamma: float = 2.0,
    class_weights: Tensor | None = None,
) -> Tensor:
    """Return the weighted sum of the three losses, in float32, over known pixels; 0 where there are none.

    Args:
        logits: ``(N, K, H, W)``.
        targets: ``(N, H, W)`` int64 classes; -1 (unlabelled) and 255 (ignored) do not count.
        cross_entropy_weight: of the cross-entropy; a loss of weight 0 is not computed.
        dice_weight: of the Dice loss.
        focal_weight: of the focal loss.
        focal_gamma: exponent of the focal loss.
        class_weights: ``(K,)``, of cross-entropy and focal loss; Dice has all classes count alike.
    """
    logits = logits.float().contiguous()  # channels last, each loss would make its own copy
    loss = logits.new_zeros(())
    if cross_entropy_weight:
        loss = loss + cross_entropy_weight * cross_entropy(logits, targets, class_weights=class_weights)
    if dice_weight:
        loss = loss + dice_weight * dice_loss(logits, targets)
    if focal_weight:
        loss = loss + focal_weight * focal_loss(logits, targets, focal_gamma, class_weights)
    return loss
