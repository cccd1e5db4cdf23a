"""Sweeps: which settings are refused and how, what a grid and its examples are, and that every sweep file parses."""

import json

import pytest
import torch

from experiments.command_line import COMMANDS, carry_out, main, parse
from experiments.sweeps.report import last_names
from experiments.sweeps.settings import METRICS, SweepCommand
from experiments.sweeps.space import ParameterSpace, examples, grid
from lightning_modules.metrics import ClassificationMetrics
from lightning_modules.segmentation_metrics import SegmentationMetrics
from tests.conftest import ROOT

RATES = ParameterSpace(low=1e-5, high=1.0, log=True)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"optimizer.lrr": {"values": [0.1]}}, ["--optimizer.lrr", "did you mean --optimizer.lr?"]),
        ({"optimizer.lr": {"values": [0.1, -1]}}, ["optimizer.lr: got -1.0"]),
        ({"optimizer.lr": {"low": -1, "high": 1}}, ["optimizer.lr: got -1.0"]),
        ({"optimizer.name": {"values": ["adamw"]}, "trainer.max_epochs": {"low": 1, "high": 2}}, ["max_epochs", "int"]),
        (
            {"optimizer.lr": {"low": 0, "high": 1, "log": True}},
            ["optimizer.lr.low: got 0.0", "as log needs"],
        ),
        ({"optimizer.lr": {"low": 1}}, ["parameters.optimizer.lr.high: got None"]),
        ({"optimizer.lr": {"low": 1, "high": 1}}, ["parameters.optimizer.lr.high: got 1.0", "above low"]),
        ({"optimizer.lr": {"low": 1, "high": 2, "step": 0}}, ["parameters.optimizer.lr.step: got 0.0"]),
        ({"seed": {"low": 1, "high": 2.5, "integer": True}}, ["parameters.seed.high: got 2.5", "a whole number"]),
        ({"seed": {"values": []}}, ["parameters.seed.values: got []"]),
        ({"seed": {"values": [1, 1]}}, ["parameters.seed.values: got [1, 1]", "each once"]),
        ({"seed": {"values": [1], "log": True}}, ["parameters.seed.log: got True", "beside values"]),
        ({"seed": {"lowest": 1}}, ["lowest"]),
        ({}, ["parameters: got {}"]),
    ],
)
def test_mistakes_in_parameters_are_named_before_anything_runs(tmp_path, monkeypatch, capsys, options, expected):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as status:
        main(["sweep", "--command=train", "--parameters", json.dumps(options)])
    assert status.value.code == 2
    text = capsys.readouterr().err
    for words in expected:
        assert words in text
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("metric", "test/accuracy", "metric: got 'test/accuracy', expected a metric of validation"),
        ("stage", "student", "stage: got 'student', expected null or a stage of train: train"),
        ("method", "grid", "parameters.optimizer.lr.values: got None, expected a list"),
        ("num_trials", 0, "num_trials: got 0"),
        ("jobs", 0, "jobs: got 0"),
        ("seed", -1, "seed: got -1"),
        ("name", "a/b", "name: got 'a/b'"),
    ],
)
def test_mistakes_in_options_are_named(option, value, expected):
    with pytest.raises(ValueError, match=expected.replace("/", ".")):
        SweepCommand(command="train", parameters={"optimizer.lr": RATES}, **{option: value})


def test_without_optuna_the_remedy_is_said(monkeypatch, capsys):
    monkeypatch.setattr("experiments.sweeps.command.find_spec", lambda name: None)
    command = SweepCommand(command="train", parameters={"optimizer.lr": RATES})
    assert carry_out("sweep", command, debug=False) == 2
    assert "pip install '.[sweep]'" in capsys.readouterr().err


def test_a_grid_has_every_combination_and_examples_show_every_value():
    spaces = {"a": ParameterSpace(values=[1, True]), "b": ParameterSpace(values=["x", None, [0.1, 1e-5]])}
    combinations = [(choice["a"], choice["b"]) for choice in grid(spaces)]
    assert combinations == [(a, b) for a in ("1", "true") for b in ("x", "null", "[0.1, 1e-05]")]
    ends = {"c": ParameterSpace(low=1, high=4, integer=True), "d": ParameterSpace(low=1, high=4, log=True)}
    assert examples(ends) == [{"c": "1", "d": "1.0"}, {"c": "4", "d": "1.0"}, {"c": "1", "d": "4.0"}]


SWEEPS = sorted((ROOT / "experiments" / "configs" / "sweeps").glob("*_optuna.yaml"))


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_every_sweep_file_is_a_lab_note_whose_trials_parse(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    text = path.read_text()
    assert all(heading in text for heading in ("# Shows:", "# Run:", "# Reached:"))
    command = parse("sweep", ["--config", str(path)])[0]
    for chosen in examples(command.parameters):
        settings = parse(command.command, command.options(chosen))[0]
        assert type(settings) is COMMANDS[command.command][0]


def test_columns_have_the_last_part_of_an_option_where_no_other_ends_alike():
    assert last_names(["distillation.alpha", "optimizer.lr", "teacher.optimizer.lr"]) == [
        "alpha",
        "optimizer.lr",
        "teacher.optimizer.lr",
    ]


def test_metrics_that_nothing_measures_are_refused_and_those_measured_are_known():
    with pytest.raises(ValueError, match="metric: got 'val/acuracy', expected one of val/accuracy, "):
        SweepCommand(command="distill", parameters={"seed": {"values": [0, 1]}}, metric="val/acuracy")
    for kind, metrics in (("train", ClassificationMetrics(10)), ("segment", SegmentationMetrics(3, boundary=True))):
        logits = torch.rand(2, 10) if kind == "train" else torch.rand(2, 3, 8, 8)
        metrics.update(logits, torch.zeros(logits.shape[:1] + logits.shape[2:], dtype=torch.int64))
        assert METRICS[kind] == {"loss", *metrics.compute()}
