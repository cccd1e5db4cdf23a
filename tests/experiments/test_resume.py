"""A run that was stopped goes on, and ends as if it had not been."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from experiments import callbacks
from experiments.command_line import carry_out
from experiments.commands import DistillCommand
from experiments.network_settings import NetworkSettings, TeacherSettings
from experiments.settings import DataSettings, TrainerSettings
from lightning_modules.checkpoints import load_checkpoint
from tests.conftest import ROOT, clean_environment

STAGES = ["0-teacher", "1-student_alone", "2-student_distilled"]


def command(tmp_path: Path, name: str, **changes) -> DistillCommand:
    settings = {
        "data": DataSettings(labels_per_class=5, num_validation=50, steps_per_epoch=4),
        "teacher": TeacherSettings(network="cnn_tiny", options={"drop_rate": 0.3}),
        "student": NetworkSettings(network="cnn_tiny", options={"drop_rate": 0.3}),
        "trainer": TrainerSettings(max_epochs=4, accelerator="cpu", enable_progress_bar=False),
        "student_all_labels": False,
    }
    return DistillCommand(output=str(tmp_path), name=name, wandb="off", **(settings | changes))


class KilledError(RuntimeError):
    """Stands for a process that ended without warning."""


def die_after(monkeypatch: pytest.MonkeyPatch, num_epochs: int) -> None:
    """Kill the run once ``num_epochs`` epochs, over all stages, are done."""
    done = []
    original = callbacks.LastCheckpoint.on_train_epoch_end

    def count(self, trainer, pl_module):
        original(self, trainer, pl_module)
        done.append(1)

    def die(self, trainer, pl_module):
        if len(done) == num_epochs:
            raise KilledError("no warning")

    monkeypatch.setattr(callbacks.LastCheckpoint, "on_train_epoch_end", count)
    monkeypatch.setattr(callbacks.LastCheckpoint, "on_train_epoch_start", die)
    monkeypatch.setattr(callbacks.LastCheckpoint, "on_train_end", die)


def weights(directory: Path) -> dict[str, torch.Tensor]:
    found = {}
    for stage in STAGES:
        for kind in ("best", "last"):
            state = load_checkpoint(directory / "stages" / stage / "checkpoints" / f"{kind}.ckpt")["state_dict"]
            found |= {f"{stage} {kind} {name}": value for name, value in state.items() if name.startswith("network")}
    return found


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("uninterrupted")
    assert carry_out("distill", command(output, "whole"), debug=True) == 0
    return output / "whole"


@pytest.mark.parametrize("num_epochs", [1, 6, 12])  # within the teacher, within a student, between stages
def test_a_killed_run_ends_with_the_weights_of_an_uninterrupted_one(tmp_path, monkeypatch, uninterrupted, num_epochs):
    with monkeypatch.context() as patch:
        die_after(patch, num_epochs)
        assert carry_out("distill", command(tmp_path, "killed"), debug=False) == 1
    assert not (tmp_path / "killed" / "results.json").exists()
    assert carry_out("distill", command(tmp_path, "killed"), debug=True) == 0

    expected, found = weights(uninterrupted), weights(tmp_path / "killed")
    assert found.keys() == expected.keys()
    for name in expected:
        assert torch.equal(found[name], expected[name]), name
    results = [json.loads((run / "results.json").read_text()) for run in (uninterrupted, tmp_path / "killed")]
    whole, killed = (result["stages"] for result in results)
    for stage in whole:
        assert killed[stage]["metrics"] == whole[stage]["metrics"]
        assert killed[stage]["steps"] == whole[stage]["steps"] == 16
    for stage in STAGES:
        logs = [(run / "stages" / stage / "metrics.csv").read_text() for run in (uninterrupted, tmp_path / "killed")]
        assert logs[0] == logs[1]


def test_changed_settings_are_refused_after_an_interruption(tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        die_after(patch, 6)
        carry_out("distill", command(tmp_path, "run"), debug=False)
    config = (tmp_path / "run" / "config.yaml").read_text()
    changed = command(tmp_path, "run", student=NetworkSettings(network="cnn_small"))
    assert carry_out("distill", changed, debug=False) == 2
    assert (tmp_path / "run" / "config.yaml").read_text() == config
    assert "student.network: got 'cnn_small', but stage 'student_alone'" in capsys.readouterr().err


def test_a_truncated_checkpoint_is_named(tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        die_after(patch, 2)
        carry_out("distill", command(tmp_path, "run"), debug=False)
    last = tmp_path / "run" / "stages" / "0-teacher" / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:-100])
    assert carry_out("distill", command(tmp_path, "run"), debug=False) == 2
    assert f"checkpoint {last}: not a complete PyTorch checkpoint" in capsys.readouterr().err


def test_a_nan_loss_fails_the_run_and_keeps_the_last_good_checkpoint(tmp_path, monkeypatch, capsys):
    from lightning_modules import classification

    original, calls = classification.cross_entropy, []

    def break_at_step_6(*arguments, **options):
        calls.append(1)
        loss = original(*arguments, **options)
        return loss * float("nan") if len(calls) == 7 else loss

    monkeypatch.setattr(classification, "cross_entropy", break_at_step_6)
    assert carry_out("distill", command(tmp_path, "run"), debug=False) == 1
    assert "the training loss is nan at step 6: training stopped" in capsys.readouterr().err
    last = load_checkpoint(tmp_path / "run" / "stages" / "0-teacher" / "checkpoints" / "last.ckpt")
    assert last["global_step"] == 4
    assert all(value.isfinite().all() for value in last["state_dict"].values() if value.is_floating_point())
    assert not (tmp_path / "run" / "stages" / "1-student_alone").exists()


def wait_for_rows(metrics: Path, num_rows: int, process: subprocess.Popen, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        if metrics.exists() and len(metrics.read_text().splitlines()) > num_rows:
            return
        time.sleep(0.02)
    process.kill()
    pytest.fail("the run did not go on")


@pytest.mark.slow
@pytest.mark.parametrize(("signum", "devices"), [(signal.SIGINT, 1), (signal.SIGTERM, 1), (signal.SIGTERM, 2)])
def test_signals_stop_the_pipeline_and_the_same_command_goes_on(tmp_path, signum, devices):
    options = {
        "--output": tmp_path,
        "--name": "run",
        "--wandb": "off",
        "--data.num_validation": 50,
        "--data.labels_per_class": 5,
        "--teacher.network": "cnn_tiny",
        "--teacher.max_epochs": 1000,
        "--student.network": "cnn_tiny",
        "--trainer.devices": devices,
        "--trainer.accelerator": "cpu",
    }
    arguments = [sys.executable, "-m", "experiments", "distill", *(str(x) for pair in options.items() for x in pair)]
    stages = tmp_path / "run" / "stages"
    last = stages / "0-teacher" / "checkpoints" / "last.ckpt"
    num_rows, step = 2, 0
    for expected in ("teacher: 1,946 parameters\n", "teacher: 1,946 parameters, resumed at step {}\n"):
        process = subprocess.Popen(
            arguments, cwd=ROOT, env=clean_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        wait_for_rows(stages / "0-teacher" / "metrics.csv", num_rows, process)
        process.send_signal(signum)
        output, errors = process.communicate(timeout=60)
        assert process.returncode == 128 + signum, errors
        assert f"stopped: interrupted by {signum.name}" in errors
        assert "Traceback" not in errors
        assert expected.format(step) in output
        assert [path.name for path in stages.iterdir()] == ["0-teacher"]
        assert not (stages / "0-teacher" / "stage.json").exists()
        assert load_checkpoint(last)["global_step"] > step
        step = load_checkpoint(last)["global_step"]
        # Rows of one whole epoch more: an epoch's rows are written before its checkpoint.
        num_rows = len((stages / "0-teacher" / "metrics.csv").read_text().splitlines()) + 3


def test_a_moved_run_keeps_its_best_epoch(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        die_after(patch, 3)
        carry_out("distill", command(tmp_path, "before"), debug=False)
    before = load_checkpoint(tmp_path / "before" / "stages" / "0-teacher" / "checkpoints" / "last.ckpt")
    (tmp_path / "before").rename(tmp_path / "after")
    seen = []
    original = callbacks.BestCheckpoint.on_train_start

    def note(self, trainer, pl_module):
        seen.append((self.best_model_score, self.best_model_path))
        original(self, trainer, pl_module)

    monkeypatch.setattr(callbacks.BestCheckpoint, "on_train_start", note)
    assert carry_out("distill", command(tmp_path, "after"), debug=True) == 0
    (state,) = [state for key, state in before["callbacks"].items() if "BestCheckpoint" in key]
    score, path = seen[0]
    assert score == state["best_model_score"]
    assert path == str(tmp_path / "after" / "stages" / "0-teacher" / "checkpoints" / "best.ckpt")
