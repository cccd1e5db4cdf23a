"""What is read of a run, and what of it may be missing."""

import json

import pytest

from experiments.reports.curves import series
from experiments.reports.reading import network_name, read_source, stage_title
from tests.experiments.reports.runs import write_comparison, write_distillation, write_segmentation, write_self_training


def test_stages_are_found_by_their_place_among_all_records(tmp_path):
    run = read_source(write_self_training(tmp_path / "run"))
    names = [stage.directory.name for stage in run.stages]
    assert names[:3] == ["0-round_0", "2-round_1", "4-round_2"]
    assert all(stage.predictions is not None for stage in run.stages)
    assert [audit["stage"] for audit in run.audits] == ["round_1", "round_2"]
    assert (run.final.name, run.baseline.name) == ("round_2", "supervised")


def test_curves_have_the_rows_of_training_alone(tmp_path):
    stage = read_source(write_distillation(tmp_path / "run")).stage("teacher")
    steps, values = series(stage, "val/accuracy")
    assert steps.tolist() == [19, 39]
    assert values.tolist() == [0.5, 0.6]


def test_missing_and_damaged_files_are_as_if_they_were_not(tmp_path):
    directory = write_distillation(tmp_path / "run")
    stage = directory / "stages" / "0-teacher"
    (stage / "predictions.parquet").write_bytes(b"damaged")
    (stage / "examples.parquet").unlink()
    (stage / "metrics.csv").write_text("step,train/loss\n1,not a number\n")
    (stage / "settings.json").write_text("{")
    (directory / "config.yaml").write_text("[: no yaml")
    run = read_source(directory)
    teacher = run.stage("teacher")
    assert (teacher.predictions, teacher.examples, teacher.confusion, teacher.curve) == (None, [], None, [])
    assert (teacher.network, run.config) == (None, {})


def test_a_directory_without_results_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"runs: got .*nothing, expected a directory with the results.json"):
        read_source(tmp_path / "nothing")


def test_a_comparison_goes_before_results(tmp_path):
    directory = write_comparison(tmp_path / "both")
    (directory / "results.json").write_text("{}")
    assert read_source(directory).content["measure"] == "accuracy"


def test_confusion_of_masks_is_read_from_its_file(tmp_path):
    run = read_source(write_segmentation(tmp_path / "run"))
    names, matrix = run.final.confusion
    assert len(names) == 3
    assert matrix.sum() == 200
    assert run.measure == "mean_iou"


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("round_0", "first teacher"),
        ("round_12", "student of round 12"),
        ("student_alone", "student alone"),
        ("supervised", "labels alone"),
        ("<b>", "<b>"),
    ],
)
def test_stages_have_titles(name, title):
    assert stage_title(name) == title


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"teacher": {"network": "a"}, "student": {"network": "b", "options": {}}}, "b"),
        ({"round": {"student": {"network": "c"}}, "teacher": {"network": "a"}}, "c"),
        ({"teacher": {"network": "unet", "options": {"encoder": "resnet20"}}}, "unet on resnet20"),
        ({"model": {"network": None}}, None),
        ({}, None),
    ],
)
def test_networks_have_the_name_of_their_settings(settings, name):
    assert network_name(json.loads(json.dumps(settings))) == name
