"""Stratified, reproducible subsets: which samples are validated on, which keep their labels."""

import torch
from torch import Tensor

from datamodules.augmentation.keys import sample_keys


def stratified_subset(targets: Tensor, ids: Tensor, num_samples: int, seed: int) -> Tensor:
    """Return sorted indices of ``num_samples`` samples whose classes have the shares of the whole.

    What a class lacks to a whole number goes to the classes with the largest remainders.

    Args:
        targets: ``(N,)`` int64 classes.
        ids: ``(N,)`` int64; which samples are taken depends on their ids and the seed alone.
        num_samples: at most ``N``.
        seed: another seed, another subset.
    """
    exact = targets.bincount().double() * (num_samples / len(targets))
    counts = exact.floor().long()
    missing = num_samples - int(counts.sum())
    by_remainder = (exact - counts).argsort(descending=True, stable=True)
    counts[by_remainder[:missing]] += 1
    return first_of_each_class(targets, ids, counts, seed)


def labeled_subset(targets: Tensor, ids: Tensor, labels_per_class: int, seed: int) -> Tensor:
    """Return sorted indices of ``labels_per_class`` samples of every class; larger subsets hold the smaller ones.

    Args:
        targets: ``(N,)`` int64 classes.
        ids: ``(N,)`` int64.
        labels_per_class: samples of each class.
        seed: another seed, another subset.

    Raises:
        ValueError: a class has fewer samples than that.
    """
    available = targets.bincount()
    if labels_per_class < 1 or labels_per_class > int(available.min()):
        raise ValueError(
            f"data.labels_per_class: got {labels_per_class}, expected 1 to {int(available.min())}: "
            f"class {int(available.argmin())} has {int(available.min())} training samples outside validation"
        )
    return first_of_each_class(targets, ids, torch.full_like(available, labels_per_class), seed)


def first_of_each_class(targets: Tensor, ids: Tensor, counts: Tensor, seed: int) -> Tensor:
    """Return the sorted indices of the first ``counts (K,)`` samples of each class, in the seed's random order."""
    order = sample_keys(seed, torch.zeros_like(ids), ids).argsort(stable=True)
    chosen = [order[targets[order] == label][: int(count)] for label, count in enumerate(counts)]
    return torch.cat(chosen).sort().values
