"""Comparisons: what is run, what is not run again, what is refused, and that an interrupted one goes on."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import yaml

from experiments.command_line import COMMANDS, carry_out, main
from experiments.commands import Command
from experiments.comparisons import command as comparing
from experiments.comparisons.command import OF_COMPARISON, place, plan, settings_of
from experiments.comparisons.rows import ENDS
from experiments.comparisons.settings import CompareCommand
from experiments.locking import is_locked, try_lock
from tests.conftest import ROOT, clean_environment

STAND_IN = '''
"""Stands for ``python -m experiments``: it reads a run's configuration, and leaves results without training."""

import json, sys, time
from pathlib import Path

import yaml

config = yaml.safe_load(Path(sys.argv[3]).read_text())
directory = Path(config["output"]) / config["name"]
with (directory / "starts.txt").open("a") as file:
    file.write("start\\n")
lr, seed = config["optimizer"]["lr"], config["seed"]
if lr == 0.5 and seed == 1:
    sys.exit("error: optimizer.lr: got 0.5, but stage 'train' was begun with 0.1")
while lr == 0.25 and not (directory / "go_on").exists():
    time.sleep(0.02)
record = {"parameters": 7, "steps": 10, "seconds": 1.0, "metrics": {"test/accuracy": 0.5 + lr + 0.01 * seed}}
results = {"device": "cpu", "versions": {"torch": "2"}, "stages": {"train": record}}
(directory / "results.json").write_text(json.dumps(results))
'''
INTERRUPTED = """
import sys
sys.path.insert(0, {root!r})
from experiments.command_line import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def workplace(tmp_path, monkeypatch) -> Path:
    """A directory in which ``python -m experiments`` is the stand-in."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "__main__.py").write_text(STAND_IN)
    return tmp_path


def rates(*values: float, **options) -> CompareCommand:
    """Return a comparison of learning rates, a setting each."""
    settings = {f"lr_{value}": {"optimizer": {"lr": value}} for value in values}
    return CompareCommand(command="train", wandb="off", **({"seeds": [0, 1], "settings": settings} | options))


def starts(workplace: Path) -> dict[str, int]:
    runs = (workplace / "runs" / "compare").glob("*/starts.txt")
    return {path.parent.name: len(path.read_text().splitlines()) for path in runs}


def found(workplace: Path) -> dict:
    return json.loads((workplace / "runs" / "compare" / "comparison.json").read_text())


def test_every_seed_of_every_setting_is_run_once(workplace, capsys):
    command = rates(0.1, 0.2, jobs=2)
    assert carry_out("compare", command, debug=True) == 0
    assert starts(workplace) == {"lr_0.1-0": 1, "lr_0.1-1": 1, "lr_0.2-0": 1, "lr_0.2-1": 1}
    comparison = found(workplace)
    expected = {"command": "compare", "name": "compare", "seeds": [0, 1], "measure": "accuracy"}
    assert comparison.items() >= expected.items()
    assert [(row["setting"], row["stage"]) for row in comparison["rows"]] == [("lr_0.1", "train"), ("lr_0.2", "train")]
    assert comparison["rows"][0]["values"] == pytest.approx([0.6, 0.61])
    (pair,) = comparison["pairs"]
    assert (pair["first"], pair["second"]) == tuple({"setting": f"lr_{lr}", "stage": "train"} for lr in (0.1, 0.2))
    assert pair["difference"] == pytest.approx(0.1)
    assert "4 runs, 0 of them done before; up to 2 at a time" in capsys.readouterr().out
    assert "+10.00" in (workplace / "runs" / "compare" / "comparison.md").read_text()

    more = rates(0.1, 0.2, seeds="0,1,2")
    assert carry_out("compare", more, debug=True) == 0
    assert starts(workplace) == {f"lr_{lr}-{seed}": 1 for lr in (0.1, 0.2) for seed in (0, 1, 2)}
    assert "6 runs, 4 of them done before" in capsys.readouterr().out
    assert found(workplace)["rows"][0]["seeds"] == [0, 1, 2]


def test_a_run_that_fails_is_named_and_the_others_end(workplace, capsys):
    assert carry_out("compare", rates(0.1, 0.5), debug=False) == 1
    said = capsys.readouterr()
    assert "lr_0.5-1: failed with exit status 1: error: optimizer.lr: got 0.5, but stage 'train'" in said.out
    assert f"(all of it in {Path('runs', 'compare', 'lr_0.5-1', 'log.txt')})" in said.out
    assert "1 of 4 runs failed, lr_0.5-1; the same command does them again" in said.err
    assert [row["seeds"] for row in found(workplace)["rows"]] == [[0, 1], [0]]


def test_a_finished_run_with_other_settings_is_begun_again_so_that_it_can_refuse(workplace, capsys):
    named = {"settings": {"one": {"optimizer": {"lr": 0.1}}}}
    assert carry_out("compare", rates(**named), debug=True) == 0
    changed = {"settings": {"one": {"optimizer": {"lr": 0.5}}}}
    for times in (2, 3):  # what was refused stays refused, though results of the former settings are there
        assert carry_out("compare", rates(**changed), debug=False) == 1
        assert "one-1: failed with exit status 1: error: optimizer.lr: got 0.5" in capsys.readouterr().out
        assert starts(workplace) == {"one-0": 2, "one-1": times}
        assert found(workplace)["rows"][0]["seeds"] == [0]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"optimizer": {"lrr": 0.1}}, ["did you mean --optimizer.lr?", "settings.odd: got what is said above"]),
        ({"optimizer": {"lr": -1}}, ["optimizer.lr: got -1.0, expected", "settings.odd: got"]),
        ({"seed": 3}, ["settings.odd.seed: got 3, expected no such option: --seeds of the comparison says it"]),
    ],
)
def test_a_mistake_in_one_setting_shows_before_anything_is_run(workplace, capsys, options, expected):
    settings = {"fine": {"optimizer": {"lr": 0.1}}, "odd": options}
    assert carry_out("compare", rates(settings=settings), debug=False) == 2
    said = capsys.readouterr().err
    for words in expected:
        assert words in said
    assert not (workplace / "runs").exists()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--seeds", "0,x"], "seeds: got '0,x', expected whole numbers with commas between them"),
        (["--seeds", "1,1"], "seeds: got [1, 1], expected one value or more, each once"),
        (["--jobs", "0"], "jobs: got 0, expected 1 or more"),
        (["--name", "a/b"], "name: got 'a/b'"),
        (["--command", "networks"], "'distill', 'self-train'"),
        (["--settings.a/b.seed", "1"], "settings: got 'a/b', expected names of letters"),
        (["--baseline", "warm/teacher"], "baseline: got 'warm/teacher', expected STAGE, or one of default/STAGE"),
        (["--experiment", "nowhere.yaml"], "nowhere.yaml"),
    ],
)
def test_mistakes_are_named(workplace, capsys, options, expected):
    try:
        status = main(["compare", *options])
    except SystemExit as refusal:
        status = refusal.code
    assert status == 2
    assert expected in capsys.readouterr().err
    assert not (workplace / "runs").exists()


def test_a_baseline_that_no_run_has_is_named(workplace, capsys):
    with pytest.raises(ValueError, match="baseline: got 'teacher', expected a stage of train, train"):
        rates(0.1, baseline="teacher")  # before anything is run
    assert carry_out("compare", rates(0.1, baseline="final"), debug=False) == 2
    assert "baseline: got 'final', expected one of lr_0.1/train" in capsys.readouterr().err
    assert carry_out("compare", rates(0.1, 0.2, baseline="lr_0.2/train"), debug=True) == 0
    assert [pair["difference"] for pair in found(workplace)["pairs"]] == pytest.approx([-0.1])


def test_a_missing_file_and_a_taken_directory_are_named(workplace, capsys):
    assert carry_out("compare", rates(0.1, experiment="nope.yaml"), debug=False) == 2
    assert "experiment: got nope.yaml, expected a YAML file of train; there is none" in capsys.readouterr().err
    (workplace / "runs" / "compare").mkdir(parents=True)
    (workplace / "runs" / "compare" / "results.json").write_text("{}")
    assert carry_out("compare", rates(0.1), debug=False) == 2
    assert "compare holds the results of a run; give the comparison another --name" in capsys.readouterr().err


def test_a_setting_is_the_file_then_its_own_options(tmp_path):
    (tmp_path / "short.yaml").write_text("optimizer: {lr: 0.3, warmup_steps: 2}\nseed: 9\ntrainer: {max_epochs: 3}\n")
    command = rates(settings={}, experiment=str(tmp_path / "short.yaml"))
    (first, second) = plan(command)
    assert [first.name, second.name] == ["short-0", "short-1"]
    assert (first.settings.seed, second.settings.seed) == (0, 1)
    own = settings_of(command, "own", {"optimizer": {"lr": 1e-05}, "trainer.max_epochs": 4})
    assert (own.optimizer.lr, own.optimizer.warmup_steps, own.trainer.max_epochs) == (1e-05, 2, 4)
    assert set(OF_COMPARISON) <= set(vars(place(own, "own-0", 0, tmp_path, "off")))
    assert rates(settings={}).options_of_settings == {"default": {}}


def test_every_command_that_is_compared_leaves_a_run():
    assert set(get_args(get_type_hints(CompareCommand)["command"])) == set(ENDS)
    assert all(issubclass(COMMANDS[name][0], Command) for name in ENDS)


def test_training_itself_is_run_and_read(tmp_path, monkeypatch):
    def run_here(launches, jobs, ended):
        for launch in launches:
            ended(launch, main(launch.arguments))
        return {launch.name: 0 for launch in launches}

    monkeypatch.setattr(comparing, "run_all", run_here)
    options = {
        "data": {"num_validation": 51, "steps_per_epoch": 2, "labels_per_class": 5},
        "model": {"network": "cnn_tiny"},
        "trainer": {"max_epochs": 1, "accelerator": "cpu"},
    }
    command = rates(settings={"tiny": options}, seeds=[3], output=str(tmp_path))
    assert carry_out("compare", command, debug=True) == 0
    (row,) = json.loads((tmp_path / "compare" / "comparison.json").read_text())["rows"]
    results = json.loads((tmp_path / "compare" / "tiny-3" / "results.json").read_text())
    assert row["values"] == [results["stages"]["train"]["metrics"]["test/accuracy"]]
    assert (row["steps"], row["over"]) == (2, "test images")
    assert row["low"] <= row["mean"] <= row["high"]
    config = yaml.safe_load((tmp_path / "compare" / "tiny-3" / "finished.yaml").read_text())
    assert (config["seed"], config["trainer"]["enable_progress_bar"]) == (3, False)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_the_runs_and_the_same_command_goes_on(workplace, signum):
    options = [
        "--command",
        "train",
        "--wandb",
        "off",
        "--seeds",
        "0,1",
        "--jobs",
        "2",
        "--settings.slow.optimizer.lr",
        "0.25",
    ]
    arguments = [sys.executable, "-c", INTERRUPTED.format(root=str(ROOT)), "compare", *options]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(arguments, cwd=workplace, env=clean_environment(), **pipes)
    deadline = time.monotonic() + 100
    while len(starts(workplace)) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signum)
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 128 + signum, errors
    assert f"stopped: interrupted by {signum.name}; the same command goes on from here" in errors
    logs = [workplace / "runs" / "compare" / f"slow-{seed}" / "log.txt" for seed in (0, 1)]
    assert not any(is_locked(log) for log in logs)  # so both have ended
    assert not (workplace / "runs" / "compare" / "comparison.json").exists()

    for log in logs:
        (log.parent / "go_on").touch()
    assert subprocess.run(arguments, cwd=workplace, env=clean_environment(), check=False, **pipes).returncode == 0
    assert starts(workplace) == {"slow-0": 2, "slow-1": 2}
    assert found(workplace)["rows"][0]["values"] == pytest.approx([0.75, 0.76])


def test_a_run_that_is_still_at_work_is_left_alone(workplace, capsys):
    (first, _) = plan(rates(0.1))
    first.directory.mkdir(parents=True)
    with first.log.open("ab") as log:
        assert try_lock(log)
        assert carry_out("compare", rates(0.1), debug=False) == 2
    assert f"{first.directory}: a run is at work in it" in capsys.readouterr().err
    assert starts(workplace) == {}
