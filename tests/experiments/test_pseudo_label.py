"""Tables of pseudo-labels, made by one command and taken by another."""

import dataclasses
import json
from pathlib import Path

import pytest

from datamodules.pseudo_labels import PseudoLabels
from experiments.command_line import carry_out
from experiments.commands import DistillCommand, PseudoLabelCommand, TrainCommand
from experiments.network_settings import NetworkSettings
from experiments.settings import DataSettings, TrainerSettings
from lightning_modules.checkpoints import load_network
from lightning_modules.teacher import state_digest

DATA = DataSettings(labels_per_class=5, num_validation=50, steps_per_epoch=20)
TRAINER = TrainerSettings(max_epochs=2, accelerator="cpu", enable_progress_bar=False)


def train(output: Path, name: str, **changes) -> int:
    settings = {"model": NetworkSettings(network="cnn_tiny"), "data": DATA, "trainer": TRAINER, "wandb": "off"}
    return carry_out("train", TrainCommand(output=str(output), name=name, **(settings | changes)), debug=False)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("teacher")
    assert train(output, "teacher") == 0
    return output / "teacher" / "stages" / "0-train" / "checkpoints" / "best.ckpt"


@pytest.fixture(scope="module")
def table(teacher) -> Path:
    path = teacher.parent / "tables" / "table.parquet"
    command = PseudoLabelCommand(
        checkpoint=str(teacher), output=str(path), data=DATA, trainer=TRAINER, precision="float32"
    )
    assert carry_out("pseudo-label", command, debug=True) == 0
    return path


def test_the_table_covers_the_pool_and_names_its_teacher(table, teacher):
    labels = PseudoLabels.read(table)
    assert len(labels) == 1797 - 445 - 50 - 50
    assert labels.metadata.teacher == state_digest(load_network(teacher))


def test_what_is_known_of_it_is_said(teacher, tmp_path, capsys):
    command = PseudoLabelCommand(checkpoint=str(teacher), output=str(tmp_path / "t.parquet"), data=DATA, flip=True)
    assert carry_out("pseudo-label", command, debug=True) == 0
    said = capsys.readouterr().out
    assert "1252 pseudo-labels of digits" in said
    assert "view flip" in said
    assert "accuracy against the pool's hidden truth: " in said


def test_train_takes_a_table(table, tmp_path):
    assert train(tmp_path, "taught", table=str(table)) == 0
    assert train(tmp_path, "alone") == 0
    records = [json.loads((tmp_path / name / "results.json").read_text()) for name in ("taught", "alone")]
    losses = [record["stages"]["train"]["metrics"]["val/loss"] for record in records]
    assert losses[0] != losses[1]
    settings = json.loads((tmp_path / "taught" / "stages" / "0-train" / "settings.json").read_text())
    assert len(settings["table"]) == 64  # another table in its place would be refused


def test_a_table_of_another_split_is_refused(table, tmp_path, capsys):
    assert train(tmp_path, "other", table=str(table), seed=1) == 2
    assert "are not in the pool" in capsys.readouterr().err


def test_classes_in_another_order_are_refused_and_the_table_stays(teacher, tmp_path, capsys):
    path = tmp_path / "table.parquet"
    path.write_text("kept")
    data = dataclasses.replace(DATA, classes=[str(label) for label in reversed(range(10))])
    command = PseudoLabelCommand(checkpoint=str(teacher), output=str(path), data=data, trainer=TRAINER)
    assert carry_out("pseudo-label", command, debug=False) == 2
    assert "whose class 0 is '0', expected" in capsys.readouterr().err
    assert path.read_text() == "kept"


def test_what_lies_beside_a_table_and_is_not_its_own_stays(teacher, tmp_path):
    beside = tmp_path / "table.parquet.masks-keep-mine"
    beside.mkdir()
    command = PseudoLabelCommand(
        checkpoint=str(teacher), output=str(tmp_path / "table.parquet"), data=DATA, trainer=TRAINER
    )
    assert carry_out("pseudo-label", command, debug=True) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["table.parquet", beside.name]


def test_a_missing_table_is_named(tmp_path, capsys):
    assert train(tmp_path, "missing", table=str(tmp_path / "no.parquet")) == 2
    assert "no.parquet" in capsys.readouterr().err


def test_distill_takes_a_table_in_the_teachers_place(table, tmp_path):
    settings = {"student": NetworkSettings(network="cnn_tiny"), "data": DATA, "trainer": TRAINER, "wandb": "off"}
    command = DistillCommand(output=str(tmp_path), table=str(table), student_all_labels=False, **settings)
    assert carry_out("distill", command, debug=True) == 0
    stages = json.loads((tmp_path / "distill" / "results.json").read_text())["stages"]
    assert list(stages) == ["student_alone", "student_distilled"]
    assert stages["student_alone"]["steps"] == stages["student_distilled"]["steps"] == 40
    assert stages["student_alone"]["metrics"]["val/loss"] != stages["student_distilled"]["metrics"]["val/loss"]
