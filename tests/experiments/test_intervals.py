"""Bootstrap intervals: what statistics knows of them."""

import time

import numpy as np
import pytest
import torch

from experiments import intervals
from experiments.intervals import Interval, mean_ious, paired_bootstrap, paired_bootstrap_iou


def test_a_large_sample_has_the_normal_interval():
    differences = np.random.default_rng(0).normal(0.3, 2.0, size=4_000)
    error = differences.std() / np.sqrt(len(differences))
    interval = paired_bootstrap(differences)
    assert interval.mean == pytest.approx(differences.mean(), abs=1e-12)
    assert interval.low == pytest.approx(interval.mean - 1.96 * error, abs=0.1 * error)
    assert interval.high == pytest.approx(interval.mean + 1.96 * error, abs=0.1 * error)


def test_the_level_is_that_of_the_normal_interval_too():
    differences = np.repeat([-1, 0, 1], [300, 9_000, 700])
    error = differences.std() / np.sqrt(len(differences))
    for level, width in ((0.5, 0.674), (0.8, 1.282), (0.99, 2.576)):
        interval = paired_bootstrap(differences, level=level)
        assert interval.high - interval.mean == pytest.approx(width * error, rel=0.1)
        assert interval.mean - interval.low == pytest.approx(width * error, rel=0.1)


@pytest.mark.parametrize("kind", ["wins and losses", "normal"])
def test_95_of_100_intervals_hold_the_truth(kind):
    generator = np.random.default_rng(1)
    hits, trials = 0, 300
    for seed in range(trials):
        if kind == "normal":
            differences, truth = generator.normal(0.2, 1.0, size=100), 0.2
        else:
            differences, truth = generator.choice([-1, 0, 1], p=[0.1, 0.75, 0.15], size=200), 0.05
        interval = paired_bootstrap(differences, seed=seed, num_resamples=1_000)
        hits += interval.low <= truth <= interval.high
    assert 0.95 - 3 * 0.0126 <= hits / trials <= 0.95 + 3 * 0.0126  # the error of a share of 0.95 in 300 trials


def test_counting_and_drawing_agree(monkeypatch):
    differences = np.repeat([-1.0, 0.0, 1.0], [30, 300, 70])
    counted = paired_bootstrap(differences)
    monkeypatch.setattr(intervals, "MAX_DISTINCT", 0)
    drawn = paired_bootstrap(differences)
    assert drawn.mean == counted.mean == pytest.approx(0.1)
    assert drawn.low == pytest.approx(counted.low, abs=0.006)
    assert drawn.high == pytest.approx(counted.high, abs=0.006)


def test_drawing_goes_in_parts_that_fit_in_memory(monkeypatch):
    monkeypatch.setattr(intervals, "CHUNK", 1_000)
    sizes = []

    class Recorder:
        def __init__(self):
            self.generator = np.random.default_rng(0)

        def integers(self, high, size):
            sizes.append(size)
            return self.generator.integers(high, size=size)

    values = np.random.default_rng(0).normal(size=300)
    means = intervals.means_by_drawing(values, 10, Recorder())
    assert sizes == [(3, 300)] * 3 + [(1, 300)]
    assert len(set(means)) == 10


@pytest.mark.parametrize("value", [0.0, -1.0, 0.1])
@pytest.mark.parametrize("number", [1, 3, 1_000])
def test_equal_differences_leave_no_doubt(value, number):
    assert paired_bootstrap([value] * number) == Interval(value, value, value)


def test_the_seed_decides():
    differences = torch.tensor([1, 0, -1, 0, 0, 1, 1])
    assert paired_bootstrap(differences, seed=3, num_resamples=50) == paired_bootstrap(
        differences, seed=3, num_resamples=50
    )
    many = np.random.default_rng(0).normal(size=100)
    first, again, other = (paired_bootstrap(many, seed=seed, num_resamples=50) for seed in (0, 0, 1))
    assert first == again != other


def test_swapping_the_models_mirrors_the_interval():
    differences = np.repeat([-1, 0, 1], [50, 800, 150])
    interval, mirrored = paired_bootstrap(differences), paired_bootstrap(-differences)
    assert mirrored.mean == -interval.mean
    assert mirrored.low == pytest.approx(-interval.high, abs=0.002)
    assert mirrored.high == pytest.approx(-interval.low, abs=0.002)


def test_ten_thousand_classified_samples_take_no_time():
    differences = np.repeat([-1, 0, 1], [300, 9_300, 400])
    start = time.process_time()
    paired_bootstrap(differences)
    assert time.process_time() - start < 0.5  # drawing the samples one by one takes longer


@pytest.mark.parametrize(
    ("differences", "options", "message"),
    [
        ([], {}, r"differences: got shape \(0,\), expected one finite number"),
        ([[1, 0]], {}, r"differences: got shape \(1, 2\)"),
        ([1, float("nan")], {}, "differences: .* finite"),
        ([1, 0], {"num_resamples": 0}, "num_resamples: got 0, expected 1 or more"),
        ([1, 0], {"level": 95}, r"level: got 95, expected a share in \(0, 1\)"),
    ],
)
def test_mistakes_are_named(differences, options, message):
    with pytest.raises(ValueError, match=message):
        paired_bootstrap(differences, **options)


def confusions(right: list[int], wrong: list[int]) -> np.ndarray:
    """Return (N, 2, 2): per image the pixels of class 0 found, and those taken for class 1."""
    return np.array([[[r, w], [0, 10]] for r, w in zip(right, wrong, strict=True)], float)


def test_the_difference_of_mean_ious_is_that_over_all_pixels():
    first, second = confusions([8, 2, 5], [2, 8, 5]), confusions([4, 2, 0], [6, 8, 10])
    found = paired_bootstrap_iou(first, second)
    # IoU of class 0 is found / 30; of class 1 it is 30 / (30 + missed).
    expected = (15 / 30 + 30 / 45) / 2 - (6 / 30 + 30 / 54) / 2
    assert found.mean == pytest.approx(expected)
    assert 0 <= found.low < found.mean < found.high
    mirrored = paired_bootstrap_iou(second, first)
    assert (mirrored.mean, mirrored.low, mirrored.high) == pytest.approx((-found.mean, -found.high, -found.low))


def test_an_interval_of_mean_ious_is_that_of_direct_resampling():
    generator = np.random.default_rng(1)
    right = generator.integers(0, 11, size=(2, 40))
    pair = [confusions(list(r), list(10 - r)) for r in right]
    found = paired_bootstrap_iou(*pair, num_resamples=4000)
    drawn = generator.integers(40, size=(4000, 40))
    means = [[mean_ious(each[rows].sum(axis=0, keepdims=True))[0] for rows in drawn] for each in pair]
    low, high = np.quantile(np.subtract(*means), [0.025, 0.975])
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.01)


def test_confusions_of_other_images_are_refused():
    with pytest.raises(ValueError, match=r"got shapes \(3, 2, 2\) and \(2, 2, 2\)"):
        paired_bootstrap_iou(confusions([1, 2, 3], [0, 0, 0]), confusions([1, 2], [0, 0]))
