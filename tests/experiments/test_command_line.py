"""The command line: what it refuses, how, and how fast."""

import time

import pytest

from experiments.command_line import COMMANDS, build_parser, main
from tests.conftest import run_command


def refused(capsys, *arguments: str) -> str:
    with pytest.raises(SystemExit) as exit_status:
        main(arguments)
    assert exit_status.value.code == 2
    text = capsys.readouterr().err
    assert len(text.splitlines()) < 10
    return text


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["distill", "--distillation.temprature", "2"], ["--distillation.temprature", "--distillation.temperature"]),
        (["distill", "--data.batch", "3"], ["--data.batch", "did you mean --data.batch_size"]),  # no abbreviations
        (["distill", "--optimizer.lr", "-0.1"], ["optimizer.lr: got -0.1, expected a learning rate above 0"]),
        (["distill", "--teacher.optimizer.lr", "-0.1"], ["error: teacher.optimizer.lr: got -0.1"]),
        (["distill", "--student.input_size", "0"], ["error: student.input_size: got 0"]),
        (["distill", "--trainer.precision", "64-true"], ["trainer.precision", "bf16-mixed"]),
        (["distill", "--teacher.max_epochs", "0"], ["teacher.max_epochs: got 0, expected 1 or more"]),
        (["distill", "--trainer.check_val_every_n_epoch", "21"], ["check_val_every_n_epoch: got 21", "at most"]),
        (["distill", "--distillation.alpha", "1.5"], ["distillation.alpha: got 1.5, expected a weight in 0..1"]),
        (["distill", "--distillation.temperature", "0"], ["distillation.temperature: got 0.0, expected a temperature"]),
        (["distill", "--trainer.max_epochs", "many"], ["trainer.max_epochs", "int", "many"]),
        (["distill", "--wandb", "sometimes"], ["wandb", "auto", "offline", "sometimes"]),
        (["distill", "--teacher.train", "false"], ["teacher.train: got False", "teacher.checkpoint"]),
        (["distill", "--name", "a/b"], ["name: got 'a/b'", "--output"]),
        (["train", "--model.transfer", "head"], ["model.transfer is a group", "--model.transfer.mode head?"]),
        (["distill", "--teacher", "resnet18"], ["teacher is a group", "did you mean --teacher.network resnet18?"]),
        (["distill", "--student.ignore_keys", "a,b"], ["student.ignore_keys: got 'a,b', expected none without"]),
        (["train", "--model.transfer.mode", "head"], ["model.transfer.mode: got 'head', expected full without"]),
        (["train", "--model.transfer.num_stages", "2"], ["model.transfer.num_stages: got 2, expected 1, its default"]),
        (["distill", "surplus"], ["surplus"]),
        (["evaluate"], ["required", "checkpoint"]),
        (["distil"], ["unknown command 'distil'", "did you mean 'distill'"]),
        ([], []),
    ],
)
def test_mistakes_are_named_in_few_lines(capsys, arguments, expected):
    text = refused(capsys, *arguments)
    for words in expected:
        assert words in text


@pytest.mark.parametrize(
    ("yaml", "expected"),
    [
        ("distillation:\n  temprature: 2\n", ["temprature", "did you mean --distillation.temperature"]),
        ("distilation:\n  alpha: 0.5\n", ["distilation.alpha", "did you mean --distillation.alpha"]),
        ("seeed: 1\n", ["seeed", "did you mean --seed"]),
        ("optimizer:\n  lr: -1\n", ["optimizer.lr: got -1"]),
    ],
)
def test_mistakes_in_yaml_are_named(capsys, tmp_path, yaml, expected):
    (tmp_path / "config.yaml").write_text(yaml)
    text = refused(capsys, "distill", "--config", str(tmp_path / "config.yaml"))
    for words in expected:
        assert words in text


def test_a_missing_yaml_file_is_named(capsys):
    assert "nowhere.yaml" in refused(capsys, "train", "--config", "nowhere.yaml")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_explained(command):
    for action in build_parser(command)._actions:
        is_group = action.metavar == "CONFIG"
        assert is_group or action.help, f"{command} {action.option_strings} has no help"


@pytest.mark.parametrize("arguments", [["--help"], ["distill", "--help"], ["distill", "--optimzer.lr", "1"]])
def test_help_and_mistakes_answer_at_once(arguments):
    start = time.perf_counter()
    result = run_command(*arguments)
    assert result.returncode == (2 if "--optimzer.lr" in arguments else 0)
    assert time.perf_counter() - start < 5  # about 0.3 s; the bound only tells whether torch was imported


def test_later_options_go_before_yaml(tmp_path):
    (tmp_path / "config.yaml").write_text("seed: 3\ndistillation:\n  alpha: 0.2\n")
    parser = build_parser("distill")
    namespace = parser.parse_args(["--config", str(tmp_path / "config.yaml"), "--seed", "4"])
    assert (namespace.seed, namespace.distillation.alpha) == (4, 0.2)
