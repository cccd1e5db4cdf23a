"""How good a network is and how much better than another, with 95 % intervals over the test images."""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from experiments.intervals import Interval, paired_bootstrap
from experiments.prediction_tables import Predictions
from experiments.reports.reading import ReportedRun, ReportedStage

LEVEL = 0.95


@dataclass(frozen=True)
class Gain:
    """A stage's measure on test less that of another stage.

    Attributes:
        stage: the stage.
        baseline: the other one.
        difference: a fraction in -1..1.
        interval: of the difference, ``None`` where it cannot be had.
    """

    stage: ReportedStage
    baseline: ReportedStage
    difference: float
    interval: Interval | None

    @property
    def verdict(self) -> str:
        """What the interval says of the difference."""
        if self.interval is None:
            return "no interval"
        if self.interval.low <= 0 <= self.interval.high:
            return "not distinguishable"
        return "better" if self.interval.low > 0 else "worse"


def gain(run: ReportedRun, stage: ReportedStage, baseline: ReportedStage) -> Gain | None:
    """Return what a stage gained over another on test, ``None`` where one of them was not tested.

    The interval is that of the run's summary where it has one of these two, else that of the predictions.
    """
    summary = run.results.get("summary", {})
    if (summary.get("final"), summary.get("baseline")) == (stage.name, baseline.name) and "low" in summary:
        interval = Interval(summary["difference"], summary["low"], summary["high"])
        return Gain(stage, baseline, interval.mean, interval)
    if stage.predictions is not None and baseline.predictions is not None:
        paired = paired_interval(stage.predictions, baseline.predictions)
        if paired is not None:
            return Gain(stage, baseline, paired.mean, paired)
    values = [each.metric(f"test/{run.measure}") for each in (stage, baseline)]
    return None if values[0] is None or values[1] is None else Gain(stage, baseline, values[0] - values[1], None)


def paired_interval(first: Predictions, second: Predictions) -> Interval | None:
    """Return the interval of the difference of two accuracies on the images of both whose class is known.

    ``None`` where there are no such images.
    """
    _, rows, others = np.intersect1d(first.ids, second.ids, assume_unique=True, return_indices=True)
    differences = first.correct[rows].astype(int) - second.correct[others].astype(int)
    differences = differences[first.known[rows]]
    return paired_bootstrap(differences) if len(differences) else None


def accuracy_interval(predictions: Predictions | None) -> Interval | None:
    """Return the accuracy on the images whose class is known, with the score interval of Wilson (1927).

    Unlike a bootstrap it does not shrink to a point where all images are right. ``None`` where no class is known.
    """
    number = 0 if predictions is None else int(predictions.known.sum())
    if predictions is None or not number:
        return None
    share = float(predictions.correct[predictions.known].mean())
    square = NormalDist().inv_cdf((1 + LEVEL) / 2) ** 2 / number
    center = (share + square / 2) / (1 + square)
    half = math.sqrt(square * share * (1 - share) + square**2 / 4) / (1 + square)
    return Interval(share, max(0.0, center - half), min(1.0, center + half))
