"""What several runs say together: means over seeds, paired differences, and bootstrap intervals of both."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from scipy.stats import t as t_distribution  # type: ignore[import-untyped]

from experiments.intervals import CHUNK, FloatArray, Interval
from experiments.prediction_tables import Predictions
from experiments.studies.reporting import mean_and_spread

NUM_RESAMPLES = 10_000
COVERAGE = {2: 0.50, 3: 0.75, 4: 0.80, 5: 0.84, 6: 0.86, 7: 0.88, 8: 0.89, 9: 0.90, 10: 0.90}
"""Share of 95 % intervals that held the mean, by number of seeds: 20,000 samples of normal values, one a seed."""
Summary: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Trial:
    """A stage of one run.

    Attributes:
        record: as ``results.json`` has it.
        value: what is compared, on test, a fraction.
        predictions: of each test image, where the stage left them.
    """

    record: dict[str, Any]
    value: float
    predictions: Predictions | None = None


@dataclass(frozen=True)
class Row:
    """A stage of one setting, in all its runs.

    Attributes:
        setting: its name.
        stage: its name.
        trials: by seed.
    """

    setting: str
    stage: str
    trials: dict[int, Trial]

    @property
    def key(self) -> dict[str, str]:
        """What names the row in ``comparison.json``."""
        return {"setting": self.setting, "stage": self.stage}


def bootstrap_seeds_and_images(
    values: FloatArray, *, seed: int = 0, num_resamples: int = NUM_RESAMPLES, level: float = 0.95
) -> Interval:
    """Return the mean of ``(S, N)`` values of seeds and images and its percentile bootstrap interval.

    Each resample draws S seeds with replacement and N images with replacement, the same images for all seeds, so the
    interval speaks of other seeds and other images (the "pigeonhole" bootstrap of crossed factors: Owen 2007, "The
    pigeonhole bootstrap"). With N = 1 it speaks of seeds alone, with S = 1 of images alone. Images with the same values
    in all seeds are drawn as one multinomial count, which is exact.

    Over few seeds it is too narrow: where seeds alone vary, the 95 % interval held the mean in 50 % of the cases with
    2 seeds, 75 % with 3, 80 % with 4, 84 % with 5 and 90 % with 10 (``COVERAGE``). Where the 445 images of a test vary
    too, it errs the other way: 96 % with 5 seeds of a spread of 2 points, 99 % with a spread of half a point (300
    simulated comparisons).

    Args:
        values: of a classifier 1 where it is right, else 0; of a pair the differences of these; or a column of
            figures of whole runs.
        seed: of the resampling.
        num_resamples: means that are drawn.
        level: share of the means that the interval holds.
    """
    num_seeds, num_images = values.shape
    patterns, counts = np.unique(values, axis=1, return_counts=True)
    generator = np.random.default_rng(seed)
    means = np.empty(num_resamples)
    step = max(1, CHUNK // patterns.shape[1])
    for start in range(0, num_resamples, step):
        part = means[start : start + step]
        of_seeds = generator.multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), size=len(part))
        of_images = generator.multinomial(num_images, counts / num_images, size=len(part))
        part[:] = np.einsum("bp,bp->b", of_seeds @ patterns, of_images) / values.size
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(values.mean()), float(low), float(high))


def student_interval(values: FloatArray, *, level: float = 0.95) -> Interval:
    """Return the mean of ``(S,)`` figures of runs, two or more, and Student's t interval.

    A bootstrap over so few is far too narrow; this one has its level where the figures are normally distributed.
    """
    mean, error = float(values.mean()), float(values.std(ddof=1)) / len(values) ** 0.5
    reach = float(t_distribution.ppf((1 + level) / 2, len(values) - 1)) * error
    return Interval(mean, mean - reach, mean + reach)


def summarize_row(row: Row) -> Summary:
    """Return a row of ``comparison.json``."""
    trials = list(row.trials.values())
    values = [trial.value for trial in trials]
    mean, spread = mean_and_spread(values)
    samples = correctness(trials) if share_images(trials) else np.array(values)[:, None]
    return {
        **row.key,
        "seeds": list(row.trials),
        **{name: mean_of(trials, name) for name in ("parameters", "steps", "images")},
        "seconds": {"mean": mean_of(trials, "seconds"), "std": spread_of(trials, "seconds")},
        "mean": mean,
        "std": spread,
        **interval_of(samples),
        "values": values,
    }


def summarize_pair(first: Row, second: Row) -> Summary:
    """Return a pair of ``comparison.json``: the second row minus the first, over the seeds that both have."""
    seeds = [seed for seed in first.trials if seed in second.trials]
    assert seeds, f"{first.key} and {second.key} have no seed in common"
    pair = [[row.trials[seed] for seed in seeds] for row in (first, second)]
    values = np.array([[trial.value for trial in trials] for trials in pair])
    if share_images([*pair[0], *pair[1]]):
        differences = correctness(pair[1]) - correctness(pair[0])
    else:
        differences = (values[1] - values[0])[:, None]
    interval = interval_of(differences)
    is_known = interval["low"] is not None
    steps = [[trial.record.get("steps") for trial in trials] for trials in pair]
    return {
        "first": first.key,
        "second": second.key,
        "seeds": seeds,
        "difference": float((values[1] - values[0]).mean()),
        **interval,
        "distinguishable": not interval["low"] <= 0 <= interval["high"] if is_known else None,
        "steps_match": steps[0] == steps[1],
    }


def interval_of(samples: FloatArray) -> Summary:
    """Return the ends of the interval of ``(S, N)`` samples and what they were drawn over, null of a single sample."""
    if (samples == samples[:1]).all():  # one network however often it was tested: seeds say nothing
        samples = samples[:1]
    num_seeds, num_images = samples.shape
    drawn = [name for name, number in (("seeds", num_seeds), ("test images", num_images)) if number > 1]
    if not drawn:
        return {"low": None, "high": None, "over": None}
    interval = bootstrap_seeds_and_images(samples) if num_images > 1 else student_interval(samples[:, 0])
    return {"low": interval.low, "high": interval.high, "over": " and ".join(drawn)}


def share_images(trials: Sequence[Trial]) -> bool:
    """Return whether all trials left predictions, and of the same test images."""
    images = [(table.ids[table.known], table.targets[table.known]) for table in tables_of(trials)]
    return len(images) == len(trials) and all(np.array_equal(images[0], each) for each in images)


def correctness(trials: Sequence[Trial]) -> FloatArray:
    """Return ``(S, N)``, 1 where a trial's label of a test image is right; images of unknown class are left out."""
    return np.array([table.correct[table.known] for table in tables_of(trials)], dtype=np.float64)


def tables_of(trials: Sequence[Trial]) -> list[Predictions]:
    """Return the predictions of the trials that left some."""
    return [trial.predictions for trial in trials if trial.predictions is not None]


def mean_of(trials: Sequence[Trial], name: str) -> float | None:
    """Return the mean of a number of the records, whole where it is; ``None`` where a record has none."""
    numbers = numbers_of(trials, name)
    if len(numbers) < len(trials):
        return None
    mean = statistics.fmean(numbers)
    return int(mean) if mean.is_integer() else mean


def spread_of(trials: Sequence[Trial], name: str) -> float | None:
    """Return the sample standard deviation of a number of the records, ``None`` where it has none."""
    numbers = numbers_of(trials, name)
    return None if len(numbers) < max(2, len(trials)) else statistics.stdev(numbers)


def numbers_of(trials: Sequence[Trial], name: str) -> list[float]:
    """Return a number of the records that have it."""
    return [trial.record[name] for trial in trials if trial.record.get(name) is not None]
