"""Sweeps: what is found, what is ended early, and that nothing is lost when they are killed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments.command_line import carry_out, main, parse
from experiments.locking import is_locked, try_lock
from experiments.sweeps.settings import SweepCommand
from experiments.sweeps.space import ParameterSpace
from tests.conftest import ROOT, clean_environment
from tests.experiments.sweeps import stand_in

pytest.importorskip("optuna")

from experiments.sweeps import trials


@pytest.fixture
def workplace(tmp_path, monkeypatch) -> Path:
    """A directory in which ``python -m experiments`` is the stand-in."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiments").mkdir()
    shutil.copy(stand_in.__file__, tmp_path / "experiments" / "__main__.py")
    monkeypatch.setattr(trials, "LOOK_SECONDS", 0.02)
    return tmp_path


def learning_rates(*values: float, **options) -> SweepCommand:
    settings = {"method": "grid", "pruner": "none", "wandb": "off"} | options
    return SweepCommand(command="train", parameters={"optimizer.lr": ParameterSpace(values=list(values))}, **settings)


def found(workplace: Path) -> dict:
    return json.loads((workplace / "runs" / "sweep" / "sweep.json").read_text())


def epochs(workplace: Path, number: int) -> list[int]:
    done = workplace / "runs" / "sweep" / f"trial-{number}" / "stages" / "0-train" / "epochs.txt"
    return [int(line) for line in done.read_text().splitlines()]


def test_the_best_on_validation_is_found_and_tested_alone(workplace, capsys):
    assert carry_out("sweep", learning_rates(0.1, 0.01, 0.001), debug=True) == 0
    sweep = found(workplace)
    assert [trial["parameters"]["optimizer.lr"] for trial in sweep["trials"]] == ["0.1", "0.01", "0.001"]
    assert [trial["state"] for trial in sweep["trials"]] == ["complete"] * 3
    assert [trial["value"] for trial in sweep["trials"]] == pytest.approx([0.875, 1, 0.875])
    assert sweep["best"]["number"] == 1
    assert sweep["best"]["test"] == pytest.approx({"test/accuracy": 0.99})
    assert "test" not in json.dumps(sweep["trials"])
    said = capsys.readouterr().out
    assert "test/accuracy 0.99;" in said
    assert said.splitlines()[-1] == "python -m experiments train --optimizer.lr=0.01 --name=sweep-best"
    assert parse("train", said.splitlines()[-1].split()[4:])[0].optimizer.lr == 0.01


def test_a_loss_is_minimised(workplace):
    assert carry_out("sweep", learning_rates(0.1, 0.01, metric="val/loss"), debug=True) == 0
    assert found(workplace)["direction"] == "minimize"
    assert found(workplace)["best"]["number"] == 1
    assert found(workplace)["best"]["value"] == pytest.approx(0)


def test_a_hopeless_trial_is_ended_early(workplace, capsys):
    (workplace / "hold_after_2").touch()
    command = learning_rates(0.01, 0.1, 1e-7, pruner="median", startup_trials=2, warmup_epochs=1)
    assert carry_out("sweep", command, debug=True) == 0
    assert [trial["state"] for trial in found(workplace)["trials"]] == ["complete", "complete", "pruned"]
    assert epochs(workplace, 2) == [0, 1]
    assert not is_locked(workplace / "runs" / "sweep" / "trial-2.log")
    assert "trial 2: hopeless, ended" in capsys.readouterr().out


def test_warm_up_and_first_trials_are_not_pruned(workplace):
    late = learning_rates(0.01, 0.1, 1e-3, pruner="median", startup_trials=2, warmup_epochs=stand_in.EPOCHS)
    assert carry_out("sweep", late, debug=True) == 0
    more = learning_rates(0.01, 0.1, 1e-3, pruner="median", startup_trials=3, warmup_epochs=1, name="more")
    assert carry_out("sweep", more, debug=True) == 0
    for name in ("sweep", "more"):
        sweep = json.loads((workplace / "runs" / name / "sweep.json").read_text())
        assert {trial["state"] for trial in sweep["trials"]} == {"complete"}


def test_a_failed_trial_is_reported_and_stops_no_other(workplace, capsys):
    assert carry_out("sweep", learning_rates(2.0, 0.01), debug=True) == 0
    failed, complete = found(workplace)["trials"]
    assert (failed["state"], complete["state"]) == ("fail", "complete")
    assert failed["error"] == "exit status 1: the loss exploded"
    assert "trial 0: exit status 1: the loss exploded" in capsys.readouterr().out


def test_a_sweep_of_failures_fails(workplace, capsys):
    assert carry_out("sweep", learning_rates(2.0, 3.0), debug=False) == 1
    assert "none of 2 trials came to its end; the last said: exit status 1: the loss exp" in capsys.readouterr().err
    assert found(workplace)["best"] is None


def test_a_metric_that_is_not_there_ends_a_trial_at_its_first_epoch(workplace):
    (workplace / "hold_after_1").touch()
    assert carry_out("sweep", learning_rates(1e-5, metric="val/mean_iou"), debug=False) == 1
    error = found(workplace)["trials"][0]["error"]
    assert "metric: val/mean_iou is None" in error
    assert "the metrics are val/accuracy, val/loss" in error
    assert epochs(workplace, 0) == [0]


def test_trials_run_side_by_side(workplace, monkeypatch):
    alongside = []
    look = trials.Sweep._look_at
    monkeypatch.setattr(
        trials.Sweep, "_look_at", lambda self, one: (alongside.append(len(self.running)), look(self, one))
    )
    assert carry_out("sweep", learning_rates(0.01, 0.1, 0.001, jobs=2), debug=True) == 0
    assert max(alongside) == 2
    assert len(found(workplace)["trials"]) == 3


def begin(workplace: Path) -> subprocess.Popen[bytes]:
    """Start a sweep of a trial that stands still after an epoch and one that does not; wait for that epoch."""
    (workplace / "hold_after_1").touch()
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from experiments.command_line import main; "
    process = subprocess.Popen(
        [sys.executable, "-c", code + "sys.exit(main(sys.argv[1:]))", "sweep", *arguments()],
        cwd=workplace,
        env=clean_environment(),
    )
    deadline = time.monotonic() + 120
    done = workplace / "runs" / "sweep" / "trial-0" / "stages" / "0-train" / "epochs.txt"
    while not (done.is_file() and done.read_text()):
        assert process.poll() is None, "the sweep ended before its first epoch"
        assert time.monotonic() < deadline, "the sweep did not begin"
        time.sleep(0.02)
    return process


def arguments() -> list[str]:
    parameters = json.dumps({"optimizer.lr": {"values": [1e-5, 0.01]}})
    return ["--command=train", "--parameters", parameters, "--method=grid", "--pruner=none", "--wandb=off"]


def test_a_killed_sweep_waits_for_the_trial_that_outlived_it(workplace, monkeypatch, capsys):
    process = begin(workplace)
    process.kill()
    process.wait()
    answers = []

    def release_at_the_third_look(log: Path) -> bool:
        answers.append(is_locked(log))
        if len(answers) == 3:
            (workplace / "hold_after_1").unlink()
        return answers[-1]

    monkeypatch.setattr(trials, "is_locked", release_at_the_third_look)
    assert main(["sweep", *arguments()]) == 0
    assert "trial 0 was interrupted: its run goes on, and is waited for" in capsys.readouterr().out
    assert [trial["state"] for trial in found(workplace)["trials"]] == ["complete", "complete"]
    assert epochs(workplace, 0) == epochs(workplace, 1) == list(range(stand_in.EPOCHS))  # none lost, none twice


def test_an_interrupted_sweep_ends_its_trial_which_resumes(workplace, capsys):
    process = begin(workplace)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 128 + signal.SIGTERM
    assert not is_locked(workplace / "runs" / "sweep" / "trial-0.log")
    assert epochs(workplace, 0) == [0]
    (workplace / "hold_after_1").unlink()
    assert main(["sweep", *arguments()]) == 0
    assert "trial 0 was interrupted: it resumes" in capsys.readouterr().out
    assert [trial["state"] for trial in found(workplace)["trials"]] == ["complete", "complete"]
    assert epochs(workplace, 0) == list(range(stand_in.EPOCHS))


def test_a_sweep_that_is_done_does_nothing_again(workplace):
    command = learning_rates(0.01, 0.1)
    assert carry_out("sweep", command, debug=True) == 0
    before, log = found(workplace), workplace / "runs" / "sweep" / "trial-0.log"
    changed = log.stat().st_mtime_ns
    assert carry_out("sweep", command, debug=True) == 0
    assert found(workplace) == before
    assert log.stat().st_mtime_ns == changed


def test_other_settings_in_the_same_directory_are_refused(workplace, capsys):
    assert carry_out("sweep", learning_rates(0.01), debug=True) == 0
    for other, words in [
        (learning_rates(0.1), "parameters.optimizer.lr: got {'values': [0.1]"),
        (learning_rates(0.01, seed=1), "seed: got 1, but the sweep in runs/sweep was begun with 0"),
        (learning_rates(0.01, metric="val/loss"), "metric: got 'val/loss'"),
    ]:
        assert carry_out("sweep", other, debug=False) == 2
        text = capsys.readouterr().err
        assert words in text
        assert "another --name, or delete runs/sweep" in text


def test_two_calls_do_not_work_on_one_sweep(workplace, capsys):
    (workplace / "runs" / "sweep").mkdir(parents=True)
    with (workplace / "runs" / "sweep" / "sweep.lock").open("ab") as lock:
        assert try_lock(lock)
        assert carry_out("sweep", learning_rates(0.01), debug=False) == 2
    assert "another call is at work in runs/sweep" in capsys.readouterr().err


@pytest.mark.slow
def test_real_runs_are_searched_and_the_hopeless_one_is_ended(tmp_path):
    (tmp_path / "experiment.yaml").write_text(
        "data: {num_validation: 50, steps_per_epoch: 5}\n"
        "model: {network: cnn_tiny}\n"
        "optimizer: {schedule: constant}\n"
        "trainer: {max_epochs: 200, accelerator: cpu}\n"
    )
    rates = ParameterSpace(values=[0.02, 1e-7])
    command = SweepCommand(
        command="train",
        parameters={"optimizer.lr": rates},
        experiment=str(tmp_path / "experiment.yaml"),
        output=str(tmp_path),
        method="grid",
        startup_trials=1,
        warmup_epochs=3,
        wandb="off",
    )
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    assert carry_out("sweep", command, debug=True) == 0
    good, hopeless = json.loads((tmp_path / "sweep" / "sweep.json").read_text())["trials"]
    assert (good["state"], hopeless["state"]) == ("complete", "pruned")
    results = json.loads((tmp_path / "sweep" / "trial-0" / "results.json").read_text())
    assert good["value"] == results["stages"]["train"]["metrics"]["val/accuracy"]
    assert not (tmp_path / "sweep" / "trial-1" / "results.json").exists()
