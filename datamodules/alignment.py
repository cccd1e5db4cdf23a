"""Distribution alignment: pseudo-labels of the classes in the shares that labelled images have."""

from dataclasses import replace

import torch
from torch import Tensor

from datamodules.labeled import LabeledDataModule
from datamodules.pseudo_labels import PseudoLabels

MAX_PASSES = 50
"""Passes over a table. Where labels are nearly certain shares come closer slowly, and those of the last pass count."""

TOLERANCE = 1e-3
"""A class's share is met when it is within this fraction of what it should be."""

NUMBERS_AT_ONCE = 1 << 22
"""Probabilities that are in memory in float64 at once."""


def align_table(table: PseudoLabels, labeled: LabeledDataModule) -> PseudoLabels:
    """Return the table with probabilities whose mean over the pool is the labelled images' share of each class.

    See ``align``. It presumes that classes are as frequent in the pool as among the labelled images. With
    ``labels_per_class`` those are as many of every class: where the pool's are not, aligned labels are worse.

    Args:
        table: a teacher's pseudo-labels.
        labeled: the labelled data with the table's pool; their targets are classes.

    Raises:
        ValueError: a class has no labelled image.
    """
    counts = count_labels(labeled)
    return replace(table, probabilities=align(table.probabilities, counts.double() / counts.sum()))


def count_labels(labeled: LabeledDataModule) -> Tensor:
    """Return the number of labelled images of each class, ``(K,)`` int64.

    Raises:
        ValueError: a class has none.
    """
    counts = labeled.train.targets.bincount(minlength=labeled.num_classes)
    missing = [name for name, count in zip(labeled.class_names, counts.tolist(), strict=True) if count == 0]
    if missing:
        raise ValueError(
            f"align: got true, expected labelled images of every class, but {', '.join(missing[:5])} ({len(missing)} "
            "in all) have none; leave it out, or label some"
        )
    return counts


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
    rows_at_once = max(1, NUMBERS_AT_ONCE // len(class_shares))
    for _ in range(MAX_PASSES if len(probabilities) else 0):
        sums = torch.zeros_like(class_shares)
        for rows in torch.split(probabilities, rows_at_once):
            sums += reweighted(rows, weights).sum(dim=0)
        present = sums / len(probabilities)
        if bool(((present - class_shares).abs() <= TOLERANCE * class_shares).all()):
            break
        # A class that no label has any probability of keeps its weight: none can bring it about.
        weights = weights * torch.where(present > 0, class_shares / present, 1)
    aligned = torch.empty_like(probabilities)
    for given, result in zip(torch.split(probabilities, rows_at_once), torch.split(aligned, rows_at_once), strict=True):
        result.copy_(reweighted(given, weights))
    return aligned


def reweighted(probabilities: Tensor, weights: Tensor) -> Tensor:
    """Return distributions ``(N, K)`` float64: ``probabilities (N, K)`` times ``weights (K,)``, made to sum to 1."""
    products = probabilities.double() * weights
    return products / products.sum(dim=1, keepdim=True)
