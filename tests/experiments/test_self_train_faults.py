"""What may go wrong while a pool is labelled: said, nothing lost, and the same command goes on."""

import dataclasses
import shutil
from pathlib import Path

import pytest

from datamodules.pseudo_label_writer import PseudoLabelWriter
from datamodules.pseudo_labels import PseudoLabels
from experiments import self_train
from experiments.command_line import carry_out
from experiments.commands import TrainCommand
from experiments.network_settings import NetworkSettings
from experiments.pseudo_label_settings import PseudoLabelSettings
from experiments.self_train_settings import SelfTrainCommand
from lightning_modules.settings import OptimizerSettings
from tests.datamodules.test_pseudo_labels import fill_disk
from tests.experiments.test_self_train import ROUND, command, require_same

SHORT = dataclasses.replace(ROUND, max_epochs=1)


def loop(output: Path, num_rounds: int = 1, **changes) -> SelfTrainCommand:
    return command(output, **({"round": SHORT, "num_rounds": num_rounds} | changes))


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A loop of two rounds that nothing disturbed."""
    output = tmp_path_factory.mktemp("whole")
    assert carry_out("self-train", loop(output, 2), debug=True) == 0
    return output / "loop"


@pytest.fixture(autouse=True)
def _undrawn(monkeypatch):
    """Leave the pictures out, which cost as much as the rest."""
    monkeypatch.setattr(self_train, "draw_audit", lambda *_: None)


@pytest.fixture
def first(whole, tmp_path) -> Path:
    """A copy of what its first teacher has left."""
    (tmp_path / "loop" / "stages").mkdir(parents=True)
    shutil.copytree(whole / "stages" / "0-round_0", tmp_path / "loop" / "stages" / "0-round_0")
    return tmp_path / "loop"


def table_of(run: Path, number: int = 1) -> Path:
    return run / "pseudo_labels" / f"round_{number}.parquet"


def require_failure(output: Path, capsys, status: int, *words: str) -> None:
    """Require that a loop fails while labelling and says the words in one line."""
    assert carry_out("self-train", loop(output), debug=False) == status
    (said,) = capsys.readouterr().err.splitlines()
    assert all(word in said for word in words), said
    assert not (output / "loop" / "stages" / "1-round_1_labels" / "stage.json").exists()


def test_shards_of_an_earlier_run_are_ignored_and_removed(whole, first, tmp_path):
    pretended = first / "pseudo_labels" / ".round_1.parquet.shards-0123"
    pretended.mkdir(parents=True)
    shutil.copy(table_of(whole, 2), pretended / "00000-of-00001.parquet")
    (pretended / "00001-of-00002.parquet").write_bytes(b"half of a sha")
    assert carry_out("self-train", loop(tmp_path), debug=True) == 0
    assert table_of(first).read_bytes() == table_of(whole).read_bytes()
    assert not pretended.exists()


def test_a_missing_shard_fails_the_stage_and_the_same_command_labels_again(whole, first, tmp_path, monkeypatch, capsys):
    finish = PseudoLabelWriter.finish

    def lose(self):
        finish(self)
        next(self.shards.glob("*.parquet")).unlink()

    with monkeypatch.context() as patch:
        patch.setattr(PseudoLabelWriter, "finish", lose)
        require_failure(tmp_path, capsys, 2, "0 of 1 processes finished", "run the same command again")
    assert carry_out("self-train", loop(tmp_path), debug=True) == 0
    assert table_of(first).read_bytes() == table_of(whole).read_bytes()


def test_a_full_disk_leaves_earlier_files_and_the_same_command_goes_on(whole, tmp_path, monkeypatch, capsys):
    shutil.copytree(whole, tmp_path / "loop", ignore=shutil.ignore_patterns("3-*", "4-*", "round_2.*", "config.yaml"))
    kept = {path: path.read_bytes() for path in (tmp_path / "loop").rglob("*") if path.is_file()}
    needed = table_of(whole, 2).stat().st_size
    for room in (10_000, needed - 1):  # too little for the shard; for the table, when the shard is written
        with monkeypatch.context() as patch:
            fill_disk(patch, room)
            assert carry_out("self-train", loop(tmp_path, 2), debug=False) == 1
        (said,) = capsys.readouterr().err.splitlines()
        assert "No space left on device, so the pseudo-labels were not written" in said
        assert "round_2.parquet" in said
        assert "run the same command again" in said
        assert all(path.read_bytes() == content for path, content in kept.items())
        assert not table_of(tmp_path / "loop", 2).exists()
    assert len(list((tmp_path / "loop" / "pseudo_labels").glob(".*.shards-*/*.parquet"))) == 1
    assert carry_out("self-train", loop(tmp_path, 2), debug=True) == 0
    require_same(tmp_path / "loop", whole)


def test_another_table_in_the_place_of_one_that_was_written_is_refused(whole, tmp_path, capsys):
    shutil.copytree(whole, tmp_path / "loop")
    shutil.rmtree(tmp_path / "loop" / "stages" / "2-round_1")
    shutil.copy(table_of(whole, 2), table_of(tmp_path / "loop"))
    for found in (r"got ", "got missing"):
        assert carry_out("self-train", loop(tmp_path, 2), debug=False) == 2
        said = capsys.readouterr().err
        assert f"round_1.parquet: {found}" in said
        assert "delete" in said
        assert "1-round_1_labels" in said
        table_of(tmp_path / "loop").unlink(missing_ok=True)
    shutil.rmtree(tmp_path / "loop" / "stages" / "1-round_1_labels")
    assert carry_out("self-train", loop(tmp_path, 2), debug=True) == 0
    require_same(tmp_path / "loop", whole)


def test_a_training_goes_on_with_its_own_table_and_takes_none_of_other_ids(whole, tmp_path, capsys):
    table = tmp_path / "table.parquet"
    data, trainer = command(tmp_path).data, command(tmp_path).trainer
    taught = TrainCommand(
        output=str(tmp_path),
        name="taught",
        wandb="off",
        model=NetworkSettings(network="cnn_tiny"),
        data=data,
        trainer=trainer,
        table=str(table),
    )
    shutil.copy(table_of(whole), table)
    assert carry_out("train", taught, debug=True) == 0
    shutil.copy(table_of(whole, 2), table)
    assert carry_out("train", taught, debug=False) == 2
    assert "table: got" in capsys.readouterr().err
    everything = PseudoLabels.read(table_of(whole))
    foreign = dataclasses.replace(everything, ids=everything.ids + 10_000)
    foreign.write(table)
    assert carry_out("train", dataclasses.replace(taught, name="foreign"), debug=False) == 2
    assert "of its 1252 ids are not in the pool" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (PseudoLabelSettings(confidence_threshold=1.0), ("confidence_threshold: got 1.0", "largest confidence is")),
        (
            PseudoLabelSettings(confidence_threshold=[0.0] * 9 + [1.0], balance=True),
            ("balance: got true", "have none to repeat", "lower the threshold"),
        ),
    ],
)
def test_too_few_sure_labels_are_said_and_a_lower_threshold_goes_on(whole, first, tmp_path, capsys, settings, words):
    strict = dataclasses.replace(SHORT, pseudo_labels=settings)
    assert carry_out("self-train", loop(tmp_path, round=strict), debug=False) == 2
    said = capsys.readouterr().err
    assert all(word in said for word in words)
    assert carry_out("self-train", loop(tmp_path), debug=True) == 0
    assert table_of(first).read_bytes() == table_of(whole).read_bytes()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"students": "cnn_tiny,cnn_smal"}, "round 2: network: got 'cnn_smal'"),
        (
            {"round": dataclasses.replace(SHORT, pseudo_labels=PseudoLabelSettings(confidence_threshold=[0.5, 0.5]))},
            "round 1: confidence_threshold: got 2 numbers",
        ),
        (
            {"round": dataclasses.replace(SHORT, pseudo_labels=PseudoLabelSettings(ratio=0.3))},
            "round 1: data.pseudo_labeled_ratio: got 0.3",
        ),
        (
            {"rounds": [{}, {"optimizer": {"warmup_steps": 3}}]},
            "round 2: optimizer.warmup_steps: got 3, expected fewer than the 3 steps",
        ),
        (
            {"round": dataclasses.replace(SHORT, optimizer=OptimizerSettings(name="adamx"))},
            "round 1: optimizer.name: got 'adamx'",
        ),
    ],
)
def test_mistakes_in_any_round_show_before_the_first_teacher_trains(tmp_path, capsys, changes, message):
    assert carry_out("self-train", loop(tmp_path, 2, **changes), debug=False) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "loop" / "stages").exists()
