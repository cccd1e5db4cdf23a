"""The command ``preflight`` from end to end, against what ``train`` and ``distill`` find."""

import dataclasses
import json
from pathlib import Path

import pytest

from experiments.building import build_source
from experiments.command_line import carry_out, main
from experiments.commands import DistillCommand, TrainCommand
from experiments.distill import Distillation
from experiments.network_settings import NetworkSettings, TeacherSettings
from experiments.preflights.runs import run_short
from experiments.preflights.settings import PreflightCommand
from experiments.run import Run
from experiments.settings import DataSettings, TrainerSettings
from lightning_modules.checkpoints import AtomicCheckpointIO
from lightning_modules.networks import create_network
from lightning_modules.segmentation import SegmentationModule
from lightning_modules.settings import OptimizerSettings, TransferSettings

DATA = DataSettings(labels_per_class=5, num_validation=120, steps_per_epoch=12)
TRAINER = TrainerSettings(max_epochs=1, accelerator="cpu", enable_progress_bar=False)
STUDENT = NetworkSettings(network="cnn_tiny")


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[str, dict]:
    """Train a teacher; return its checkpoint and its record."""
    output = tmp_path_factory.mktemp("teacher")
    data = dataclasses.replace(DATA, labels_per_class=None, steps_per_epoch=60)
    command = TrainCommand(
        output=str(output), wandb="off", data=data, trainer=TRAINER, optimizer=OptimizerSettings(lr=0.01)
    )
    assert carry_out("train", command, debug=True) == 0
    record = json.loads((output / "train" / "results.json").read_text())["stages"]["train"]
    return str(output / "train" / record["checkpoint"]), record


def settings(output: Path, checkpoint: str, **changes) -> dict:
    return {
        "output": str(output),
        "wandb": "off",
        "data": DATA,
        "trainer": TRAINER,
        "teacher": TeacherSettings(checkpoint=checkpoint),
        "student": STUDENT,
        "optimizer": OptimizerSettings(lr=0.01, warmup_steps=2),
    } | changes


def preflight(output: Path, checkpoint: str, **changes) -> dict:
    command = PreflightCommand(**({"seconds": 600.0} | settings(output, checkpoint, **changes)))
    assert carry_out("preflight", command, debug=True) == 0
    return json.loads((output / (command.name or "preflight") / "preflight.json").read_text())


def test_runs_as_long_as_those_of_distill_find_the_same(tmp_path, trained, capsys):
    checkpoint, record = trained
    found = preflight(tmp_path, checkpoint, name="run")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["preflight.json", "preflight.md"]
    printed = capsys.readouterr().out
    assert carry_out("distill", DistillCommand(**settings(tmp_path, checkpoint, name="run")), debug=True) == 0
    stages = json.loads((tmp_path / "run" / "results.json").read_text())["stages"]
    for name in ("teacher", "student_alone", "student_distilled"):
        for metric in ("accuracy", "loss", "calibration_error"):
            assert found["networks"][name][metric] == pytest.approx(stages[name]["metrics"][f"val/{metric}"], abs=1e-5)
        assert found["networks"][name]["parameters"] == stages[name]["parameters"]
    assert found["networks"]["teacher"]["accuracy"] == pytest.approx(record["metrics"]["val/accuracy"])
    assert found["short_run"] == {"batches": 12, "of": 12, "reason": None}
    reached = [stages[name]["metrics"]["val/accuracy"] for name in ("student_distilled", "student_alone", "teacher")]
    assert found["gain"]["difference"] == pytest.approx(reached[0] - reached[1], abs=1e-6)
    assert found["lead"]["difference"] == pytest.approx(reached[2] - reached[1], abs=1e-6)
    check_the_page(found, printed, (tmp_path / "run" / "preflight.md").read_text())
    check_what_is_left(found)


def check_the_page(found: dict, printed: str, page: str) -> None:
    assert max(map(len, printed.splitlines())) <= 100
    for text in (page, printed):
        for title in ("Networks", "Classes", "What distill will take", "student, all labels", "Headroom"):
            assert title in text
    assert found["verdict"]["sentence"] in page
    assert f"{100 * found['networks']['student_alone']['accuracy']:.2f}" in printed
    assert "| 7 " in page


def check_what_is_left(found: dict) -> None:
    assert found["capacity_ratio"] == pytest.approx(16_794 / 1_946)
    assert sum(row["count"] for row in found["classes"]) == 120
    right = sum(row["count"] * row["teacher"] for row in found["classes"])
    assert right / 120 == pytest.approx(found["networks"]["teacher"]["accuracy"])
    for row in found["classes"]:
        assert row["headroom"] == pytest.approx(row["teacher"] - row["student_alone"])
    rows = found["forecast"]
    assert rows["all"]["seconds"][0] == pytest.approx(sum(rows[name]["seconds"][0] for name in rows if name != "all"))
    assert rows["student_all_labels"] == rows["student_alone"]
    assert found["memory"]["resident_bytes"] > 100e6
    assert found["memory"]["checkpoint_bytes"] > 4 * 1_946
    assert found["memory"]["device_bytes"] is None
    assert found["validation"] == {"images": 120, "of": 120, "seen": "no"}


def test_without_time_nothing_is_concluded(tmp_path, trained):
    found = preflight(tmp_path, trained[0], seconds=0.01)
    assert found["verdict"]["answer"] == "cannot tell"
    assert found["validation"]["images"] < 120
    assert "more --seconds" in found["verdict"]["sentence"]
    assert found["gain"] is None
    assert "took all the time" in found["short_run"]["reason"]
    assert "cannot tell" in (tmp_path / "preflight" / "preflight.md").read_text().lower()


def test_a_diverging_student_is_a_reason_and_no_failure(tmp_path, trained):
    found = preflight(tmp_path, trained[0], optimizer=OptimizerSettings(name="sgd", lr=1e30))
    assert found["verdict"]["answer"] == "cannot tell"
    assert "try a lower optimizer.lr" in found["verdict"]["sentence"]


def test_the_teacher_of_another_split_is_named(tmp_path, trained):
    found = preflight(tmp_path, trained[0], seed=1, seconds=0.01)
    assert found["validation"]["seen"] == "maybe"
    assert any("another split" in note for note in found["verdict"]["notes"])


def whole_run(tmp_path: Path, checkpoint: str, **changes) -> Distillation:
    command = DistillCommand(**settings(tmp_path, checkpoint, name="x", **changes))
    return Distillation(command, build_source(command.data), Run("distill", command))


def test_a_short_run_stops_when_time_is_up(tmp_path, trained):
    record = run_short(whole_run(tmp_path, trained[0]), "student_alone", 100_000, seconds=0.3)
    assert not record["is_whole"]
    assert 1 <= record["batches"] < 100_000
    assert record["checkpoint_bytes"] > 0
    assert not (tmp_path / "x" / "stages").exists()


def test_gradual_unfreezing_keeps_its_epochs(tmp_path, trained):
    student = NetworkSettings(network="cnn_tiny", transfer=TransferSettings(mode="gradual"))
    trainer = dataclasses.replace(TRAINER, max_epochs=5)
    whole = whole_run(tmp_path, trained[0], student=student, trainer=trainer)
    record = run_short(whole, "student_distilled", 13, seconds=600)
    assert record["is_whole"]
    assert record["batches"] == 10  # 5 epochs of 2


def test_masks_are_measured_by_mean_iou(tmp_path):
    options = {"width": 2, "depth": 1}
    module = SegmentationModule(create_network("unet", num_classes=11, num_channels=3, **options), 11)
    content = {"state_dict": module.state_dict()}
    module.on_save_checkpoint(content)
    AtomicCheckpointIO().save_checkpoint(content, tmp_path / "unet.ckpt")
    data = DataSettings(
        source="digit_scenes", num_scenes=30, side=32, batch_size=4, num_labeled=8, num_validation=6, steps_per_epoch=4
    )
    student = NetworkSettings(network="unet", options=options)
    found = preflight(tmp_path, str(tmp_path / "unet.ckpt"), data=data, student=student)
    assert found["measure"] == "mean_iou"
    assert sum(row["count"] for row in found["classes"]) == 6 * 32 * 32
    assert found["gain"]["low"] <= found["gain"]["difference"] <= found["gain"]["high"]
    assert 0 <= found["networks"]["teacher"]["calibration_error"] <= 1
    assert found["validation"]["seen"] == "unknown"
    assert "6 validation images are too few" in found["verdict"]["sentence"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--teacher.network", "cnn_medium"], "python -m experiments train --model.network cnn_medium"),
        (["--teacher.network", "resnet18", "--teacher.pretrained", "true"], "--teacher.train false"),
        (["--teacher.checkpoint", "t.ckpt", "--seconds", "0"], "seconds: got 0.0, expected a time above 0"),
        (["--teacher.checkpoint", "t.ckpt", "--table", "t.parquet"], "table: got 't.parquet', expected null"),
        (["--teacher.checkpoint", "missing.ckpt"], "missing.ckpt"),
    ],
)
def test_what_cannot_be_judged_is_refused(tmp_path, capsys, options, message):
    with pytest.raises(SystemExit, match="2"):
        raise SystemExit(main(["preflight", "--output", str(tmp_path), *options]))
    assert message in capsys.readouterr().err
