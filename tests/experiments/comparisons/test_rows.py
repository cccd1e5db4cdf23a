"""The rows of a comparison: read from its runs, and compared as the user or the command says."""

import numpy as np
import pytest

from experiments.comparisons.rows import FinishedRun, Setting, choose_pairs, measure_of
from experiments.prediction_tables import Predictions, write_predictions


def record(value: float, measure: str = "accuracy") -> dict:
    return {"parameters": 1, "steps": 10, "metrics": {f"test/{measure}": value}}


def distilled(tmp_path, *, seeds=(0, 1)) -> list[FinishedRun]:
    stages = {"teacher": record(0.9), "student_alone": record(0.5), "student_distilled": record(0.8)}
    return [FinishedRun(seed, tmp_path / str(seed), {"stages": stages}) for seed in seeds]


def self_trained(tmp_path, finals: tuple[str, ...], baselines: tuple[str, ...]) -> Setting:
    stages = {"round_0": record(0.5), "round_1_labels": {"pseudo_labels": {}}}
    stages |= {name: record(0.6) for name in ("round_1", "round_2", "supervised", "supervised_noised")}
    stages["round_2"] = record(0.7)
    runs = [
        FinishedRun(seed, tmp_path, {"stages": stages, "summary": {"final": final, "baseline": baseline}})
        for seed, (final, baseline) in enumerate(zip(finals, baselines, strict=True))
    ]
    return Setting("digits", runs, "accuracy")


def names(pairs) -> list[tuple[str, str]]:
    return [tuple(f"{row.setting}/{row.stage}" for row in pair) for pair in pairs]


def pairs_of(settings: list[Setting], command: str, baseline: str | None = None) -> list[tuple[str, str]]:
    rows = [row for setting in settings for row in setting.rows()]
    return names(choose_pairs(settings, rows, command, baseline))


def test_predictions_come_from_the_stage_of_that_number(tmp_path):
    runs = distilled(tmp_path, seeds=(3,))
    stage = tmp_path / "3" / "stages" / "2-student_distilled"
    stage.mkdir(parents=True)
    answers = np.array([0, 1, 1], np.int64)
    table = Predictions(answers.cumsum(), answers, answers, np.ones(3, np.float32), ("a", "b"))
    write_predictions(stage / "predictions.parquet", table)
    rows = Setting("one", runs, "accuracy").rows()
    assert [(row.stage, row.trials[3].value) for row in rows] == [
        ("teacher", 0.9),
        ("student_alone", 0.5),
        ("student_distilled", 0.8),
    ]
    assert [row.trials[3].predictions is not None for row in rows] == [False, False, True]
    assert rows[2].trials[3].predictions.labels.tolist() == [0, 1, 1]


def test_masks_are_compared_by_mean_iou(tmp_path):
    run = FinishedRun(0, tmp_path, {"stages": {"train": record(0.6, "mean_iou")}})
    assert measure_of([run]) == "mean_iou"
    assert measure_of(distilled(tmp_path)) == "accuracy"
    assert Setting("one", [run], "mean_iou").rows()[0].trials[0].value == 0.6


def test_a_distilled_student_is_compared_with_the_one_alone_and_across_settings(tmp_path):
    settings = [Setting(name, distilled(tmp_path), "accuracy") for name in ("warm", "cold", "hot")]
    assert pairs_of(settings, "distill") == [
        *((f"{name}/student_alone", f"{name}/student_distilled") for name in ("warm", "cold", "hot")),
        ("warm/student_distilled", "cold/student_distilled"),
        ("warm/student_distilled", "hot/student_distilled"),
    ]


def test_of_one_stage_only_settings_are_compared(tmp_path):
    runs = [FinishedRun(0, tmp_path, {"stages": {"train": record(0.6)}})]
    assert pairs_of([Setting("one", runs, "accuracy")], "train") == []
    both = [Setting(name, runs, "accuracy") for name in ("one", "two")]
    assert pairs_of(both, "segment") == [("one/train", "two/train")]


def test_the_last_student_is_compared_with_the_better_baseline(tmp_path):
    setting = self_trained(tmp_path, ("round_2", "round_2"), ("supervised", "supervised"))
    assert pairs_of([setting], "self-train") == [("digits/supervised", "digits/round_2")]
    assert "round_1_labels" not in [row.stage for row in setting.rows()]


def test_where_it_is_another_stage_in_each_run_each_has_its_own(tmp_path):
    setting = self_trained(tmp_path, ("round_1", "round_2"), ("supervised", "supervised_noised"))
    assert pairs_of([setting], "self-train") == [("digits/baseline", "digits/final")]
    (final,) = (row for row in setting.rows() if row.stage == "final")
    assert [trial.value for trial in final.trials.values()] == [0.6, 0.7]


def test_the_user_says_with_what_rows_are_compared(tmp_path):
    settings = [Setting(name, distilled(tmp_path), "accuracy") for name in ("warm", "cold")]
    others = ("student_alone", "student_distilled")
    assert pairs_of(settings, "distill", "teacher") == [
        (f"{name}/teacher", f"{name}/{other}") for name in ("warm", "cold") for other in others
    ]
    assert pairs_of(settings, "distill", "cold/teacher") == [
        ("cold/teacher", f"{name}/{stage}")
        for name in ("warm", "cold")
        for stage in ("teacher", *others)
        if (name, stage) != ("cold", "teacher")
    ]
    with pytest.raises(ValueError, match="baseline: got 'pupil', expected one of warm/teacher, warm/student_alone, "):
        pairs_of(settings, "distill", "pupil")


def test_rows_without_a_common_seed_are_not_compared(tmp_path):
    settings = [Setting("warm", distilled(tmp_path, seeds=(0,)), "accuracy")]
    settings += [Setting("cold", distilled(tmp_path, seeds=(1,)), "accuracy")]
    assert ("warm/student_distilled", "cold/student_distilled") not in pairs_of(settings, "distill")
