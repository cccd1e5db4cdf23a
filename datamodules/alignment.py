"""Distribution alignment: pseudo-labels of the classes in the shares that labelled images have."""

from dataclasses import replace

import torch
from torch import Tensor

from datamodules.labeled import LabeledDataModule
from datamodules.pseudo_labels import PseudoLabels

MAX_PASSES = 50
"""Passes over a table. Where labels are certain the shares may be out of reach, and those of the last pass count."""

TOLERANCE = 1e-3
"""A class's share is met when it is within this fraction of what it should be."""

ROWS_AT_ONCE = 1 << 16
"""Rows that are in memory in float64 at once."""

SMALLEST = 1e-12
"""A probability below this counts as much, so that a class that was ruled out by rounding can be weighted up."""


def align_table(table: PseudoLabels, labeled: LabeledDataModule) -> PseudoLabels:
    """Return the table with probabilities whose mean over the pool is the labelled images' share of each class.

    See ``align``. It presumes what a stratified choice of labelled images grants: that classes are as frequent in the
    pool as among them.

    Args:
        table: a teacher's pseudo-labels.
        labeled: the labelled data with the table's pool; their targets are classes.

    Raises:
        ValueError: a class has no labelled image.
    """
    counts = labeled.train.targets.bincount(minlength=labeled.num_classes)
    missing = [name for name, count in zip(labeled.class_names, counts.tolist(), strict=True) if count == 0]
    if missing:
        raise ValueError(
            f"align: got true, expected labelled images of every class, but {', '.join(missing[:5])} ({len(missing)} "
            "in all) have none; leave it out, or label some"
        )
    return replace(table, probabilities=align(table.probabilities, counts.double() / counts.sum()))


def align(probabilities: Tensor, class_shares: Tensor) -> Tensor:
    """Return ``probabilities (N, K)`` times a weight a class, made to sum to 1 again, whose mean is ``class_shares``.

    Berthelot et al. 2020, "ReMixMatch: semi-supervised learning with distribution alignment and augmentation
    anchoring", section 3.1, multiplies once by wanted over present shares, after which they still differ; here this is
    repeated until they agree (Sinkhorn and Knopp 1967), as far as the probabilities allow.

    Args:
        probabilities: float32 distributions.
        class_shares: ``(K,)`` float64, above 0, that sum to 1.
    """
    weights = torch.ones_like(class_shares)
    for _ in range(MAX_PASSES if len(probabilities) else 0):
        sums = torch.zeros_like(class_shares)
        for rows in torch.split(probabilities, ROWS_AT_ONCE):
            sums += reweighted(rows, weights).sum(dim=0)
        present = sums / len(probabilities)
        if bool(((present - class_shares).abs() <= TOLERANCE * class_shares).all()):
            break
        weights = weights * class_shares / present
    return torch.cat([reweighted(rows, weights).float() for rows in torch.split(probabilities, ROWS_AT_ONCE)])


def reweighted(probabilities: Tensor, weights: Tensor) -> Tensor:
    """Return distributions ``(N, K)`` float64: ``probabilities (N, K)`` times ``weights (K,)``, made to sum to 1."""
    products = probabilities.double().clamp(min=SMALLEST) * weights
    return products / products.sum(dim=1, keepdim=True)
