"""Cross-entropy over the targets that are known."""

import torch.nn.functional as F
from torch import Tensor

UNLABELED = -1


def cross_entropy(logits: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Return the mean cross-entropy over labelled targets, in float32, and 0 where nothing is labelled.

    Args:
        logits: ``(N, K)`` or ``(N, K, H, W)``.
        targets: ``(N,)`` or ``(N, H, W)`` int64 classes, negative where unlabelled; or ``(N, K)``
            probabilities, all zero where unlabelled.
        label_smoothing: mass that is spread evenly over the classes (Szegedy et al. 2016).
    """
    if targets.is_floating_point():
        total = F.cross_entropy(logits.float(), targets.float(), reduction="sum", label_smoothing=label_smoothing)
        return total / (targets.sum(dim=1) > 0).sum().clamp(min=1)
    total = F.cross_entropy(
        logits.float(), targets, ignore_index=UNLABELED, reduction="sum", label_smoothing=label_smoothing
    )
    return total / (targets != UNLABELED).sum().clamp(min=1)
