"""Stratified, reproducible subsets: which samples are validated on, which keep their labels."""

import torch
from torch import Tensor

from datamodules.augmentation.keys import fold_in, sample_keys

VALIDATION, LABELED = 1, 2
"""Streams of random numbers: which samples are validated on says nothing of which are labelled, whatever the seeds."""


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
    return first_of_each_class(targets, random_order(ids, seed, VALIDATION), counts)


def labeled_subset(targets: Tensor, ids: Tensor, labels_per_class: int, seed: int, num_classes: int = 0) -> Tensor:
    """Return sorted indices of ``labels_per_class`` samples of every class; larger subsets hold the smaller ones.

    Args:
        targets: ``(N,)`` int64 classes.
        ids: ``(N,)`` int64.
        labels_per_class: samples of each class.
        seed: another seed, another subset.
        num_classes: ``K``, in case that the last classes have no sample.

    Raises:
        ValueError: a class has fewer samples than that.
    """
    available = targets.bincount(minlength=num_classes)
    if labels_per_class < 1 or labels_per_class > int(available.min()):
        raise ValueError(
            f"data.labels_per_class: got {labels_per_class}, expected 1 to {int(available.min())}: "
            f"class {int(available.argmin())} has {int(available.min())} training samples outside validation"
        )
    counts = torch.full_like(available, labels_per_class)
    return first_of_each_class(targets, random_order(ids, seed, LABELED), counts)


def random_order(ids: Tensor, seed: int, stream: int) -> Tensor:
    """Return the indices of ``ids (N,)`` in an order that follows from the ids, the seed and the stream alone."""
    return fold_in(sample_keys(seed, torch.zeros_like(ids), ids), stream).argsort(stable=True)


def first_of_each_class(targets: Tensor, order: Tensor, counts: Tensor) -> Tensor:
    """Return the sorted indices of the first ``counts (K,)`` samples of each class in ``order (N,)``."""
    chosen = [order[targets[order] == label][: int(count)] for label, count in enumerate(counts)]
    return torch.cat(chosen).sort().values
