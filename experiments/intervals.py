"""Confidence intervals of paired comparisons."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray: TypeAlias = NDArray[np.float64]

MAX_DISTINCT = 64
"""With so few different values, counting them is cheaper than drawing samples one by one."""
CHUNK = 4_000_000
"""Numbers drawn at once, about 64 MB with what they select."""


@dataclass(frozen=True)
class Interval:
    """A mean and the ends of its confidence interval, in the unit of the differences."""

    mean: float
    low: float
    high: float


def paired_bootstrap(
    differences: ArrayLike, *, seed: int = 0, num_resamples: int = 10_000, level: float = 0.95
) -> Interval:
    """Return the mean of paired differences and its percentile bootstrap interval.

    Samples are drawn with replacement, as many as there are, and the interval holds the central ``level`` of the
    means so found (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, section 13.3). It speaks of other
    samples for the same two models, not of other seeds of their training.

    Args:
        differences: ``(N,)``, one a sample: of two classifiers, 1 where only the first is right, -1 where only the
            second is, 0 where they agree.
        seed: of the resampling; the same seed gives the same interval.
        num_resamples: means that are drawn.
        level: share of the means that the interval holds, in (0, 1).

    Raises:
        ValueError: there are no differences, some are not finite, or an option is out of range.
    """
    values = np.asarray(differences, dtype=np.float64)
    if values.ndim != 1 or len(values) == 0 or not np.isfinite(values).all():
        raise ValueError(f"differences: got shape {values.shape}, expected one finite number a sample, 1 or more")
    if num_resamples < 1:
        raise ValueError(f"num_resamples: got {num_resamples}, expected 1 or more, such as 10000")
    if not 0 < level < 1:
        raise ValueError(f"level: got {level}, expected a share in (0, 1), such as 0.95")
    generator = np.random.default_rng(seed)
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) <= MAX_DISTINCT:
        means = means_by_counting(distinct, counts, num_resamples, generator)
    else:
        means = means_by_drawing(values, num_resamples, generator)
    ends = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    low, high = np.clip(ends, distinct[0], distinct[-1])  # means lie between the extremes but for rounding
    return Interval(float(np.clip(values.mean(), distinct[0], distinct[-1])), float(low), float(high))


def paired_bootstrap_iou(
    first: ArrayLike, second: ArrayLike, *, seed: int = 0, num_resamples: int = 2_000, level: float = 0.95
) -> Interval:
    """Return the difference of two mean IoUs and its percentile bootstrap interval.

    Images are drawn with replacement, and both mean IoUs are taken over all pixels of those drawn, so an image counts
    as it does in the figure that is reported.

    Args:
        first: ``(N, K, K)`` confusion matrices of the images; rows are true classes, columns predicted.
        second: likewise, of the other network on the same images.
        seed: of the resampling.
        num_resamples: differences that are drawn.
        level: share of the differences that the interval holds, in (0, 1).

    Raises:
        ValueError: the shapes differ, or there are no images.
    """
    pair = [np.asarray(matrices, np.float64) for matrices in (first, second)]
    if pair[0].shape != pair[1].shape or pair[0].ndim != 3 or not len(pair[0]):
        raise ValueError(
            f"confusion matrices: got shapes {pair[0].shape} and {pair[1].shape}, expected (N, K, K) twice, one matrix "
            "an image"
        )
    number = len(pair[0])
    drawn = np.random.default_rng(seed).multinomial(number, np.full(number, 1 / number), size=num_resamples)
    step = max(1, CHUNK // pair[0][0].size)
    differences = [
        np.subtract(*(mean_ious(np.tensordot(drawn[start : start + step], each, 1)) for each in pair))
        for start in range(0, num_resamples, step)
    ]
    low, high = np.quantile(np.concatenate(differences), [(1 - level) / 2, (1 + level) / 2])
    mean = np.subtract(*(mean_ious(each.sum(axis=0, keepdims=True)) for each in pair))
    return Interval(float(mean[0]), float(low), float(high))


def mean_ious(confusions: FloatArray) -> FloatArray:
    """Return ``(B,)``, the mean IoU over the classes that occur or are predicted, of ``(B, K, K)``."""
    correct = np.diagonal(confusions, axis1=1, axis2=2)
    union = confusions.sum(axis=1) + confusions.sum(axis=2) - correct
    ious = np.divide(correct, union, out=np.zeros_like(correct), where=union > 0)
    means: FloatArray = ious.sum(axis=1) / np.maximum(1, (union > 0).sum(axis=1))
    return means


def means_by_counting(
    distinct: FloatArray, counts: NDArray[np.int64], num_resamples: int, generator: np.random.Generator
) -> FloatArray:
    """Return ``(num_resamples,)`` means of resamples, of which only the multinomial counts of each value are drawn."""
    number = int(counts.sum())
    drawn = generator.multinomial(number, counts / number, size=num_resamples)
    means: FloatArray = drawn @ distinct / number
    return means


def means_by_drawing(values: FloatArray, num_resamples: int, generator: np.random.Generator) -> FloatArray:
    """Return ``(num_resamples,)`` means of resamples, of which every sample is drawn, some resamples at a time."""
    means = np.empty(num_resamples)
    step = max(1, CHUNK // len(values))
    for start in range(0, num_resamples, step):
        part = means[start : start + step]
        part[:] = values[generator.integers(len(values), size=(len(part), len(values)))].mean(axis=1)
    return means
