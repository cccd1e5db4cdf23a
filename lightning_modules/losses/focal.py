"""The focal loss of masks: cross-entropy in which pixels that are right already weigh little.

    L = mean of -w_y * (1 - p_y)^gamma * log p_y

Lin et al. 2017, "Focal loss for dense object detection", equations 4 and 5; the mean is that of the cross-entropy.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_modules.losses.cross_entropy import UNLABELED, known_targets


def focal_loss(logits: Tensor, targets: Tensor, gamma: float, class_weights: Tensor | None = None) -> Tensor:
    """Return the mean focal loss over known pixels, in float32, and 0 where there are none.

    Args:
        logits: ``(N, K, H, W)``.
        targets: ``(N, H, W)`` int64 classes; -1 and 255 do not count.
        gamma: 0 or more; at 0 it is the cross-entropy.
        class_weights: ``(K,)``; the mean is then weighted by those of the targets.
    """
    known = known_targets(targets)
    labels = targets.masked_fill(~known, UNLABELED)
    surprise = F.cross_entropy(logits.float(), labels, ignore_index=UNLABELED, reduction="none")
    # 1 - p; the slope of a power below 1 is infinite at 0.
    missing = -torch.expm1(-surprise).clamp(max=-torch.finfo(torch.float32).tiny)
    weights = known if class_weights is None else known * class_weights.float()[labels]
    total_weight = weights.sum()
    return (weights * missing**gamma * surprise).sum() / total_weight.masked_fill(total_weight == 0, 1)
