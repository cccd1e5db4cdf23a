"""What several runs say together: what statistics knows of it."""

import time

import numpy as np
import pytest
from scipy import stats  # type: ignore[import-untyped]

from experiments.comparisons import statistics
from experiments.comparisons.statistics import (
    COVERAGE,
    Row,
    Trial,
    bootstrap_seeds_and_images,
    summarize_pair,
    summarize_row,
)
from experiments.intervals import paired_bootstrap
from experiments.prediction_tables import Predictions


def right_or_wrong(num_seeds: int, num_images: int, seed: int = 0) -> np.ndarray:
    """Return (S, N) of 0 and 1: some images are hard, some seeds are bad."""
    generator = np.random.default_rng(seed)
    difficulty = generator.normal(0.8, 0.25, size=(1, num_images)) + generator.normal(0, 0.1, size=(num_seeds, 1))
    return (generator.random((num_seeds, num_images)) < difficulty).astype(float)


def test_the_interval_is_that_of_drawing_every_seed_and_image():
    values = right_or_wrong(4, 40)
    found = bootstrap_seeds_and_images(values)
    generator = np.random.default_rng(1)
    means = [
        values[np.ix_(generator.integers(4, size=4), generator.integers(40, size=40))].mean() for _ in range(10_000)
    ]
    assert found.mean == values.mean()
    assert (found.low, found.high) == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.01)


def test_of_one_seed_it_is_that_of_the_images_and_of_whole_runs_that_of_the_seeds():
    values = right_or_wrong(1, 300)
    found, expected = bootstrap_seeds_and_images(values), paired_bootstrap(values[0])
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.006)
    figures = np.array([0.91, 0.94, 0.97, 0.99, 0.90])
    found, expected = bootstrap_seeds_and_images(figures[:, None]), paired_bootstrap(figures)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.003)


def test_it_is_drawn_in_parts_that_fit_in_memory(monkeypatch):
    values = right_or_wrong(3, 50)
    whole = bootstrap_seeds_and_images(values)
    monkeypatch.setattr(statistics, "CHUNK", 100)
    parts = bootstrap_seeds_and_images(values)
    assert (parts.low, parts.high) == pytest.approx((whole.low, whole.high), abs=0.01)
    assert bootstrap_seeds_and_images(values, level=0.5).high < whole.high


@pytest.mark.parametrize("num_seeds", [3, 5])
def test_few_seeds_are_covered_as_rarely_as_is_said(num_seeds):
    generator = np.random.default_rng(2)
    trials, hits = 300, 0
    for seed in range(trials):
        found = bootstrap_seeds_and_images(generator.normal(size=(num_seeds, 1)), seed=seed, num_resamples=300)
        hits += found.low <= 0 <= found.high
    assert hits / trials == pytest.approx(COVERAGE[num_seeds], abs=0.075)  # 3 times the error of such a share


def test_five_seeds_and_ten_thousand_images_take_no_time():
    values = right_or_wrong(5, 10_000) - right_or_wrong(5, 10_000, seed=1)
    start = time.process_time()
    bootstrap_seeds_and_images(values)
    assert time.process_time() - start < 3


def predictions(correct: np.ndarray, first_id: int = 0, unknown: int = 0) -> Predictions:
    """Return a table of two classes; of the last images the class is unknown."""
    targets = np.zeros(len(correct) + unknown, np.int64)
    targets[len(correct) :] = -1
    labels = np.concatenate([1 - correct, np.zeros(unknown)]).astype(np.int64)
    ids = first_id + np.arange(len(targets))
    return Predictions(ids, targets, labels, np.ones(len(targets), np.float32), ("a", "b"))


def row(stage: str, correct: np.ndarray, steps: int | None = 100, tables: bool = True, **changes) -> Row:
    """Return a row of (S, N) answers."""
    record = {"parameters": 50, "steps": steps, "images": 6400, "seconds": 2.0} | changes.pop("record", {})
    return Row(
        "only",
        stage,
        {
            seed: Trial(record, float(answers.mean()), predictions(answers, **changes) if tables else None)
            for seed, answers in enumerate(correct)
        },
    )


def test_a_row_says_mean_spread_and_what_the_interval_speaks_of():
    answers = np.array([[1, 1, 1, 0], [1, 1, 0, 0], [1, 1, 1, 1]])
    found = summarize_row(row("train", answers))
    expected = {"parameters": 50, "steps": 100, "images": 6400, "mean": 0.75, "std": 0.25, "values": [0.75, 0.5, 1.0]}
    assert {name: found[name] for name in expected} == expected
    assert found["seconds"] == {"mean": 2, "std": 0}
    assert (found["over"], found["seeds"]) == ("seeds and test images", [0, 1, 2])
    assert found["low"] < 0.75 < found["high"]


def test_images_of_unknown_class_count_for_nothing():
    answers = right_or_wrong(3, 30)
    plain, with_unknown = (summarize_row(row("train", answers, unknown=unknown)) for unknown in (0, 20))
    assert with_unknown == plain


def test_without_predictions_seeds_alone_are_drawn():
    answers = right_or_wrong(3, 30)
    found = summarize_row(row("train", answers, tables=False))
    assert found["over"] == "seeds"
    expected = stats.ttest_1samp(found["values"], 0).confidence_interval(0.95)
    assert (found["low"], found["high"]) == pytest.approx((expected.low, expected.high))
    one = summarize_row(row("train", answers[:1]))
    assert (one["over"], one["std"]) == ("test images", None)
    nothing = summarize_row(row("train", answers[:1], tables=False))
    assert [nothing[name] for name in ("low", "high", "over", "std")] == [None] * 4


def test_numbers_that_a_run_lacks_are_null():
    found = summarize_row(row("train", right_or_wrong(2, 10), steps=None, record={"seconds": None}))
    assert (found["steps"], found["seconds"]) == (None, {"mean": None, "std": None})


def test_a_pair_is_paired_by_image():
    worse = right_or_wrong(5, 200)
    better = worse.copy()
    better[:, np.flatnonzero(worse.sum(axis=0) < 5)[:25]] = 1  # the same errors, but for these images
    found = summarize_pair(row("a", worse), row("b", better))
    assert found["difference"] == pytest.approx(better.mean() - worse.mean())
    assert (found["over"], found["distinguishable"]) == ("seeds and test images", True)
    spread = summarize_row(row("a", worse))
    assert found["high"] - found["low"] < 0.5 * (spread["high"] - spread["low"])
    mirrored = summarize_pair(row("b", better), row("a", worse))
    assert (mirrored["low"], mirrored["high"]) == pytest.approx((-found["high"], -found["low"]), abs=0.003)


def test_equal_rows_are_not_distinguishable():
    answers = right_or_wrong(5, 50)
    found = summarize_pair(row("a", answers), row("b", answers))
    assert (found["difference"], found["low"], found["high"], found["distinguishable"]) == (0, 0, 0, False)
    noise = summarize_pair(row("a", answers), row("b", right_or_wrong(5, 50, seed=3)))
    assert noise["low"] < 0 < noise["high"]
    assert noise["distinguishable"] is False


@pytest.mark.parametrize("changes", [{"first_id": 7}, {"tables": False}])
def test_other_test_images_are_not_paired(changes):
    answers = right_or_wrong(3, 30)
    found = summarize_pair(row("a", answers), row("b", answers[::-1], **changes))
    assert (found["over"], found["difference"], found["distinguishable"]) == ("seeds", pytest.approx(0), False)


def test_images_of_the_same_ids_and_other_classes_are_not_paired():
    answers = right_or_wrong(3, 30)
    other = row("b", answers[::-1])
    for trial in other.trials.values():
        trial.predictions.targets[:] += 1
    assert summarize_pair(row("a", answers), other)["over"] == "seeds"


def test_one_network_tested_with_several_seeds_says_nothing_of_seeds():
    answers = np.repeat(right_or_wrong(1, 30), 3, axis=0)
    assert summarize_row(row("evaluate", answers))["over"] == "test images"


def test_a_pair_says_whether_steps_match_and_takes_the_seeds_of_both():
    answers = right_or_wrong(3, 30)
    assert summarize_pair(row("a", answers), row("b", answers))["steps_match"]
    assert not summarize_pair(row("a", answers), row("b", answers, steps=200))["steps_match"]
    assert summarize_pair(row("a", answers), row("b", answers[:2]))["seeds"] == [0, 1]
    single = summarize_pair(row("a", answers[:1], tables=False), row("b", answers, tables=False))
    assert (single["low"], single["distinguishable"]) == (None, None)
