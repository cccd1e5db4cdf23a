"""Intervals of accuracies and of gains."""

import dataclasses

import numpy as np
import pytest

from experiments.intervals import paired_bootstrap
from experiments.reports.gains import accuracy_interval, gain, paired_interval
from experiments.reports.reading import read_source
from tests.experiments.reports.runs import predictions, write_distillation, write_segmentation, write_self_training


@pytest.mark.parametrize(
    ("accuracy", "low", "high"),
    [(0.5, 0.431361, 0.568639), (0.9, 0.850594, 0.934330), (1.0, 0.981155, 1.0)],
)
def test_an_accuracys_interval_is_wilsons(accuracy, low, high):
    interval = accuracy_interval(predictions(accuracy))
    assert (interval.mean, interval.low, interval.high) == pytest.approx((accuracy, low, high), abs=1e-6)


def test_images_of_unknown_class_count_in_no_interval():
    table = predictions(0.9)
    unknown = dataclasses.replace(table, targets=np.where(np.arange(200) < 20, -1, table.targets))
    assert accuracy_interval(unknown).mean == 1
    assert paired_interval(unknown, predictions(0.8)).mean == pytest.approx(20 / 180)
    assert accuracy_interval(dataclasses.replace(table, targets=np.full(200, -1))) is None
    assert accuracy_interval(None) is None


def test_pairs_are_found_by_id():
    first, second = predictions(0.9), predictions(0.8, first_wrong=10)
    expected = paired_bootstrap(first.correct.astype(int) - second.correct.astype(int))
    assert paired_interval(first, second) == expected
    part = dataclasses.replace(
        second,
        **{name: getattr(second, name)[50:] for name in ("ids", "targets", "labels", "confidences")},
    )
    expected = paired_bootstrap((first.correct.astype(int) - second.correct.astype(int))[50:])
    assert paired_interval(first, part) == expected


def test_a_distillation_is_compared_with_the_student_alone(tmp_path):
    run = read_source(write_distillation(tmp_path / "run"))
    found = gain(run, run.final, run.baseline)
    assert (found.stage.name, found.baseline.name) == ("student_distilled", "student_alone")
    assert found.difference == pytest.approx(0.2)
    assert found.interval == paired_interval(run.final.predictions, run.baseline.predictions)
    assert found.verdict == "better"


def test_a_self_trainings_gain_is_that_of_its_summary(tmp_path):
    run = read_source(write_self_training(tmp_path / "run"))
    found = gain(run, run.final, run.baseline)
    assert (found.difference, found.interval.low, found.interval.high) == (0.05, 0.01, 0.09)
    other = gain(run, run.stage("supervised_all_labels"), run.baseline)
    assert other.interval == paired_interval(other.stage.predictions, run.baseline.predictions)


@pytest.mark.parametrize(("distilled", "verdict"), [(0.9, "better"), (0.7, "not distinguishable"), (0.4, "worse")])
def test_the_verdict_is_the_intervals(tmp_path, distilled, verdict):
    run = read_source(write_distillation(tmp_path / "run", distilled=distilled))
    assert gain(run, run.final, run.baseline).verdict == verdict


def test_without_predictions_there_is_a_difference_and_no_interval(tmp_path):
    run = read_source(write_distillation(tmp_path / "run", files=False))
    found = gain(run, run.final, run.baseline)
    assert found.difference == pytest.approx(0.2)
    assert found.interval is None
    assert found.verdict == "no interval"


def test_one_network_has_no_baseline(tmp_path):
    run = read_source(write_segmentation(tmp_path / "run"))
    assert run.baseline is None
    assert run.final.name == "train"
