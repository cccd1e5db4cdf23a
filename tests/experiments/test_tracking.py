"""W&B: which mode, and what the client wrote."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

from experiments import tracking
from experiments.collecting import PredictionCollector
from experiments.tracked_outcome import outcome_of
from experiments.tracking import StageTracking, finish_wandb, note_lineage, resolve_mode, table_artifact
from tests.conftest import ROOT, run_command


@pytest.fixture(autouse=True)
def _no_key(monkeypatch, tmp_path):
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


def test_off_is_off():
    assert resolve_mode("off") == ("off", "W&B: off")


def test_auto_without_a_key_is_offline():
    assert resolve_mode("auto") == ("offline", "W&B: offline, there is no API key (wandb login)")


def test_auto_with_a_key_and_no_network_is_offline_within_seconds(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    start = time.perf_counter()
    mode, line = resolve_mode("auto")
    assert mode == "offline"
    assert line.startswith("W&B: offline, 127.0.0.1 cannot be reached")
    assert time.perf_counter() - start < 2 * tracking.CONNECT_SECONDS


def test_auto_with_a_key_and_a_network_is_online(monkeypatch, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setenv("WANDB_BASE_URL", url)
        (tmp_path / "netrc").write_text("machine 127.0.0.1 login user password " + "0" * 40)
        assert resolve_mode("auto") == ("online", f"W&B: online at {url}")


def test_online_without_a_key_is_refused():
    with pytest.raises(ValueError, match=r"wandb: got 'online', but there is no API key.*--wandb offline"):
        resolve_mode("online")


def test_a_missing_package_is_said(monkeypatch):
    monkeypatch.setattr(tracking, "find_spec", lambda name: None)
    assert resolve_mode("auto")[0] == "off"
    with pytest.raises(ValueError, match="pip install wandb"):
        resolve_mode("offline")


def inspect(run_directory: Path) -> list[dict]:
    """Return the records that the client wrote, as it reads them itself."""
    result = subprocess.run(
        [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(run_directory)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.mark.slow
def test_a_pipeline_is_one_group_of_one_run_a_stage(tmp_path):
    pytest.importorskip("wandb")
    options = {
        "--output": tmp_path,
        "--name": "run",
        "--data.num_validation": 50,
        "--data.labels_per_class": 5,
        "--data.steps_per_epoch": 3,
        "--teacher.network": "cnn_tiny",
        "--student.network": "cnn_tiny",
        "--trainer.max_epochs": 1,
        "--trainer.accelerator": "cpu",
        "--student_all_labels": "false",
    }
    environment = {"NETRC": str(tmp_path / "netrc")}
    result = run_command("distill", *(x for pair in options.items() for x in pair), **environment)
    assert result.returncode == 0, result.stderr
    assert "W&B: offline, there is no API key" in result.stdout
    assert f"report: {tmp_path / 'run' / 'report.html'}" in result.stdout
    assert "student distilled" in (tmp_path / "run" / "report.html").read_text()
    runs = sorted((tmp_path / "run" / "wandb").glob("offline-run-*"))
    assert len(runs) == 3
    records = [inspect(run) for run in runs]
    found = [next(record["run"] for record in of_run if record["type"] == "run") for of_run in records]
    stages = ["teacher", "student_alone", "student_distilled"]
    assert {run["display_name"]: run["job_type"] for run in found} == {f"run/{stage}": stage for stage in stages}
    assert {run["run_group"] for run in found} == {"run"}
    assert len({run["run_id"] for run in found}) == 3
    for of_run in records:
        assert of_run[-1]["type"] == "exit"
        assert any("test/accuracy" in json.dumps(record) for record in of_run if record["type"] == "history")
        stage = next(record["run"]["job_type"] for record in of_run if record["type"] == "run")
        assert_outcome_is_told(of_run, tmp_path / "run", stage)
    distilled = next(of_run for of_run in records if '"student_distilled"' in json.dumps(of_run))
    assert "run-teacher-model:best" in json.dumps(distilled)  # lineage, in the configuration where W&B is offline


def assert_outcome_is_told(records: list[dict], run: Path, stage: str) -> None:
    """Assert that a stage's W&B run has its summary, the tables and charts of its test, and its checkpoints."""
    summary = {}
    for record in records:
        if record["type"] == "summary":
            summary |= record["summary"]["update"]
    results = json.loads((run / "results.json").read_text())["stages"][stage]
    assert summary["best/val/accuracy"] == pytest.approx(results["metrics"]["val/accuracy"])
    assert summary["last/val/accuracy"] == pytest.approx(results["metrics"]["val/accuracy"])  # of one epoch
    assert summary["test/accuracy"] == pytest.approx(results["metrics"]["test/accuracy"])
    for key in ("test/examples", "test/confusion_matrix_table", "test/reliability_table"):
        assert any(name.startswith(key) for name in summary), key
    artifacts = [record["artifact"] for record in records if record["type"] == "artifact"]
    models = [each for each in artifacts if each["name"] == f"run-{stage}-model"]
    assert [set(each["aliases"]) - {"latest"} for each in models] == [{"last"}, {"best"}]
    assert {content["path"] for each in models for content in each["manifest"]["contents"]} == {"model.ckpt"}
    environment = next(record["run"] for record in records if record["type"] == "run")
    assert environment["config"]["update"]["trainer"]["max_epochs"] == 1
    assert environment["config"]["update"]["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert len(environment["git"]["commit"]) == 40


def test_a_pseudo_label_table_is_an_artifact_that_its_student_names(tmp_path):
    pytest.importorskip("wandb")
    table = tmp_path / "table.parquet"
    table.write_bytes(b"not empty")
    options = {"mode": "offline", "run_directory": tmp_path, "run_name": "my run", "config": {"seed": 0}}
    labels = StageTracking(stage="round_1_labels", run_id="labels", **options)
    picture = tmp_path / "audit.png"
    Image.new("RGB", (3, 2)).save(picture)
    numbers = {"accuracy": 0.9, "teacher": "abc", "confidence_threshold": 0.5}
    labels.log_table(table, numbers, alias="round-1", picture=picture)
    student = StageTracking(stage="round_1", run_id="student", **options)
    assert student.logger(uses=table_artifact("my run", "round_1_labels") + ":latest") is not None
    finish_wandb()

    written = {
        run.name.rsplit("-", 1)[1]: json.dumps(inspect(run)) for run in (tmp_path / "wandb").glob("offline-run-*")
    }
    assert "my-run-round_1_labels" in written["labels"]
    assert "round-1" in written["labels"]
    assert "confidence_threshold" in written["labels"]
    assert "pseudo_labels/accuracy" in written["labels"]
    assert "uses_artifact" in written["student"]
    assert "my-run-round_1_labels" in written["student"]


def test_an_artifact_that_is_not_there_costs_the_lineage_alone(capsys):
    wandb = pytest.importorskip("wandb")

    class Run:
        def use_artifact(self, name):
            raise wandb.CommError(f"{name} not found")

    note_lineage(Run(), "loop-round_1_labels:latest")
    assert (
        "W&B: no lineage from loop-round_1_labels:latest (loop-round_1_labels:latest not found)"
        in capsys.readouterr().out
    )


def started(run_directory: Path) -> dict:
    """Return what the client wrote of a run's start."""
    return next(record["run"] for record in inspect(run_directory) if record["type"] == "run")


@pytest.mark.slow
def test_a_killed_run_can_be_read_and_goes_on_as_the_same(tmp_path):
    pytest.importorskip("wandb")
    options = {
        "--output": tmp_path,
        "--name": "run",
        "--model.network": "cnn_tiny",
        "--data.num_validation": 50,
        "--data.steps_per_epoch": 20,
        "--trainer.max_epochs": 100,
        "--trainer.accelerator": "cpu",
        "--trainer.enable_progress_bar": "false",
    }
    arguments = ["train", *(str(x) for pair in options.items() for x in pair)]
    unreachable = {"WANDB_API_KEY": "0" * 40, "WANDB_BASE_URL": "http://127.0.0.1:9", "NETRC": str(tmp_path / "netrc")}
    program = [sys.executable, "-m", "experiments"]
    process = subprocess.Popen([*program, *arguments], cwd=ROOT, env=os.environ | unreachable)
    log = tmp_path / "run" / "wandb"
    while process.poll() is None and not any(path.stat().st_size >= 2**15 for path in log.glob("*/*.wandb")):
        time.sleep(0.02)  # the client writes in blocks of 32 KB
    process.kill()
    assert process.wait() == -signal.SIGKILL
    (killed,) = (tmp_path / "run" / "wandb").glob("offline-run-*")
    assert started(killed)["job_type"] == "train"

    result = run_command(*arguments, **unreachable)
    assert result.returncode == 0, result.stderr
    assert "W&B: offline, 127.0.0.1 cannot be reached" in result.stdout
    assert "resumed at step" in result.stdout
    (other,) = set((tmp_path / "run" / "wandb").glob("offline-run-*")) - {killed}
    ids = [
        next(record["run"] for record in inspect(run) if record["type"] == "run")["run_id"] for run in (killed, other)
    ]
    assert ids[0] == ids[1]
    assert inspect(other)[-1]["type"] == "exit"


def test_masks_are_shown_as_pictures_and_their_confusion_as_a_chart(tmp_path):
    wandb = pytest.importorskip("wandb")
    collector = PredictionCollector(("background", "0"))
    collector.confusion = torch.tensor([[5, 1], [0, 2]])
    Image.new("RGB", (3, 2)).save(tmp_path / "overlays.png")
    with wandb.init(mode="offline", dir=tmp_path, settings=wandb.Settings(silent=True)):
        outcome = outcome_of(tmp_path, collector)
    assert set(outcome) == {"test/confusion_matrix", "test/overlays"}
    cells = [["background", "background", 5], ["background", "0", 1], ["0", "background", 0], ["0", "0", 2]]
    assert outcome["test/confusion_matrix"].table.data == cells


@pytest.mark.parametrize(("asked", "mode"), [("offline", "offline"), ("disabled", "off")])
def test_auto_follows_what_the_environment_says(monkeypatch, asked, mode):
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_MODE", asked)
    assert resolve_mode("auto") == (mode, f"W&B: {asked}, as WANDB_MODE says")
