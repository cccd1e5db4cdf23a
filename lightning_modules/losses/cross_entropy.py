"""Cross-entropy over the targets that are known."""

import torch.nn.functional as F
from torch import Tensor

UNLABELED = -1
IGNORED = 255
"""Of masks alone: where nothing is to be learned or measured, such as the padding of an augmented image."""


def known_targets(targets: Tensor) -> Tensor:
    """Return where int64 targets are classes, of their shape: not -1 and, in masks ``(N, H, W)``, not 255 either."""
    known = targets != UNLABELED
    return known & (targets != IGNORED) if targets.ndim == 3 else known


def cross_entropy(
    logits: Tensor, targets: Tensor, *, label_smoothing: float = 0.0, class_weights: Tensor | None = None
) -> Tensor:
    """Return the mean cross-entropy over known targets, in float32, and 0 where there are none.

    Args:
        logits: ``(N, K)`` or ``(N, K, H, W)``.
        targets: ``(N,)`` or ``(N, H, W)`` int64 classes, negative where unlabelled, in masks 255 where ignored; or
            ``(N, K)`` probabilities, all zero where unlabelled.
        label_smoothing: mass that is spread evenly over the classes (Szegedy et al. 2016).
        class_weights: ``(K,)``, of int64 targets; the mean is then weighted by those of the targets.
    """
    if targets.is_floating_point():
        total = F.cross_entropy(logits.float(), targets.float(), reduction="sum", label_smoothing=label_smoothing)
        return total / (targets.sum(dim=1) > 0).sum().clamp(min=1)
    known = known_targets(targets)
    labels = targets.masked_fill(~known, UNLABELED)
    weights = None if class_weights is None else class_weights.float()
    total = F.cross_entropy(
        logits.float(), labels, weights, ignore_index=UNLABELED, reduction="sum", label_smoothing=label_smoothing
    )
    total_weight = known.sum() if weights is None else (known * weights[labels]).sum()
    return total / total_weight.masked_fill(total_weight == 0, 1)
