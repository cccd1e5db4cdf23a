"""The soft Dice loss of masks.

    L = 1 - mean over classes of 2 * sum(p * y) / (sum(p) + sum(y))

Milletari et al. 2016, "V-Net", section 3, with the plain sums of Sudre et al. 2017 in the denominator. The sums run
over all known pixels of the batch: of an image alone, a class that it lacks would be wholly right or wholly wrong.
"""

import torch
from torch import Tensor

from lightning_modules.losses.cross_entropy import known_targets


def dice_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Return one minus the mean soft Dice of the classes that the masks hold, in float32; 0 where they hold none.

    Args:
        logits: ``(N, K, H, W)``.
        targets: ``(N, H, W)`` int64 classes; -1 and 255 do not count.
    """
    known = known_targets(targets)
    labels = targets.masked_fill(~known, 0)
    probabilities = logits.float().softmax(dim=1)
    # A product, as a copy of all probabilities without those that do not count takes as long as the softmax.
    with torch.autocast(logits.device.type, enabled=False):
        predicted = (probabilities.flatten(2) @ known.float().flatten(1).unsqueeze(2)).sum(dim=(0, 2))
    overlap = sums_by_class(probabilities.gather(1, labels.unsqueeze(1)).squeeze(1) * known, labels, logits.shape[1])
    true = sums_by_class(known.float(), labels, logits.shape[1])
    present = true > 0
    dice = 2 * overlap / (predicted + true).masked_fill(~present, 1)
    return ((1 - dice) * present).sum() / present.sum().clamp(min=1)


def sums_by_class(values: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Return ``(K,)``, the sums of values over the pixels of each class; both have ``N * H * W`` elements."""
    return values.new_zeros(num_classes).index_add(0, labels.flatten(), values.flatten())
