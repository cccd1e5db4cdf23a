"""The self-training loop: what it records, what it forgets, and what no interruption changes."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch

from datamodules import labeled
from datamodules.pseudo_labels import PseudoLabels
from experiments import callbacks, guard, labelling, self_train
from experiments.command_line import carry_out
from experiments.network_settings import NetworkSettings, TeacherSettings
from experiments.pseudo_label_settings import PseudoLabelSettings
from experiments.rounds import RoundSettings
from experiments.self_train_settings import FinetuneSettings, SelfTrainCommand
from experiments.settings import DataSettings, TrainerSettings
from lightning_modules.checkpoints import load_checkpoint, load_network
from lightning_modules.teacher import state_digest
from tests.experiments.test_resume import KilledError, die_after

ROUND = RoundSettings(
    student=NetworkSettings(network="cnn_tiny", drop_rate=0.3), steps_per_epoch=3, ema_decay=0.9, max_epochs=3
)
STAGES = ["round_0", "round_1_labels", "round_1", "round_2_labels", "round_2"]


def command(tmp_path: Path, name: str = "loop", **changes) -> SelfTrainCommand:
    settings = {
        "data": DataSettings(labels_per_class=5, num_validation=50, steps_per_epoch=3),
        "teacher": TeacherSettings(network="cnn_tiny", drop_rate=0.3),
        "round": ROUND,
        "trainer": TrainerSettings(max_epochs=2, accelerator="cpu", enable_progress_bar=False),
        "baselines": False,
    }
    return SelfTrainCommand(output=str(tmp_path), name=name, wandb="off", **(settings | changes))


def results_of(tmp_path: Path, name: str = "loop") -> dict:
    return json.loads((tmp_path / name / "results.json").read_text())


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A loop with everything in it, not interrupted."""
    output = tmp_path_factory.mktemp("whole")
    settings = {"baselines": True, "finetune": FinetuneSettings(max_epochs=1)}
    assert carry_out("self-train", command(output, **settings), debug=True) == 0
    return output


@pytest.fixture(autouse=True)
def _undrawn(monkeypatch):
    """Leave the pictures out, which cost as much as the rest; the whole loop has them."""
    monkeypatch.setattr(self_train, "draw_audit", lambda *_: None)


def test_the_record_is_what_the_design_promises(whole):
    results = results_of(whole)
    stages = results["stages"]
    after = ["finetuned", "supervised", "supervised_noised", "supervised_all_labels"]
    assert list(stages) == [*STAGES, *after]
    for number in (1, 2):
        labels = stages[f"round_{number}"]["pseudo_labels"]
        assert labels == stages[f"round_{number}_labels"]["pseudo_labels"]
        assert (whole / "loop" / labels["table"]).is_file()
        assert labels["pool"] == 1797 - 445 - 50 - 50
        assert 0 < labels["accuracy"] < 1
        assert len(labels["per_class"]) == 10
    assert stages["round_2"]["pseudo_labels"]["changed"] > 0
    assert results["summary"]["low"] <= results["summary"]["difference"] <= results["summary"]["high"]
    assert (whole / "loop" / "pseudo_labels.png").read_bytes().startswith(b"\x89PNG")


def test_the_baselines_have_the_last_students_network_and_steps(whole):
    stages = results_of(whole)["stages"]
    for name in ("supervised", "supervised_noised", "supervised_all_labels"):
        assert stages[name]["steps"] == stages["round_2"]["steps"] == 9
        assert stages[name]["parameters"] == stages["round_2"]["parameters"]


def test_a_table_is_its_teachers_word_on_the_clean_pool(whole):
    run, stages = whole / "loop", results_of(whole)["stages"]
    table = PseudoLabels.read(run / stages["round_1"]["pseudo_labels"]["table"])
    teacher = load_network(run / stages["round_0"]["checkpoint"]).eval()
    assert table.metadata.teacher == state_digest(teacher) == stages["round_1_labels"]["teacher"]
    pool = self_train.build_labeled(self_train.build_source(command(whole).data), command(whole)).pool
    images = pool.images(torch.arange(len(pool))).float() / 255
    expected = teacher(images).softmax(dim=1)[pool.ids.argsort()]
    assert (table.probabilities - expected).abs().max() < 0.02  # bfloat16, where the processor is fast at it


def weights(run: Path) -> dict[str, torch.Tensor]:
    found = {}
    for checkpoint in sorted(run.glob("stages/*-round_*/checkpoints/*.ckpt")):
        state = load_checkpoint(checkpoint)["state_dict"]
        found |= {f"{checkpoint.relative_to(run)} {name}": value for name, value in state.items() if "network" in name}
    return found


def require_same(found: Path, expected: Path) -> None:
    ours, theirs = weights(found), weights(expected)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    for table in (expected / "pseudo_labels").glob("*.parquet"):
        assert (found / "pseudo_labels" / table.name).read_bytes() == table.read_bytes()


@pytest.mark.parametrize("num_epochs", [1, 2, 4, 5])  # in round 0, before its labels, in round 1, between the rounds
def test_a_killed_loop_ends_as_an_uninterrupted_one(tmp_path, monkeypatch, whole, num_epochs):
    with monkeypatch.context() as patch:
        die_after(patch, num_epochs)
        assert carry_out("self-train", command(tmp_path), debug=False) == 1
    assert carry_out("self-train", command(tmp_path), debug=True) == 0
    require_same(tmp_path / "loop", whole / "loop")


@pytest.mark.parametrize("step", ["predict", "merge"])
def test_a_loop_killed_while_labelling_ends_as_an_uninterrupted_one(tmp_path, monkeypatch, whole, step):
    def die(*_, **__):
        raise KilledError("no warning")

    with monkeypatch.context() as patch:
        target = (labelling.PseudoLabelWriter, "finish") if step == "predict" else (labelling, "merge_shards")
        patch.setattr(*target, die)
        assert carry_out("self-train", command(tmp_path), debug=False) == 1
    assert not list((tmp_path / "loop" / "pseudo_labels").glob("*.parquet"))
    assert carry_out("self-train", command(tmp_path), debug=True) == 0
    require_same(tmp_path / "loop", whole / "loop")


def test_no_loss_sees_the_pools_truth(tmp_path, monkeypatch, whole):
    split = labeled.split_labeled

    def with_noise(*arguments):
        train, pool = split(*arguments)
        noise = torch.randint(0, 10, pool.targets.shape, generator=torch.Generator().manual_seed(1))
        return train, dataclasses.replace(pool, targets=noise)

    monkeypatch.setattr(labeled, "split_labeled", with_noise)
    assert carry_out("self-train", command(tmp_path), debug=True) == 0
    require_same(tmp_path / "loop", whole / "loop")
    said, known = (results_of(path)["stages"]["round_1"]["pseudo_labels"]["accuracy"] for path in (tmp_path, whole))
    assert said != known  # the audit alone sees it


def test_two_worse_students_end_the_loop_and_their_teacher_stays(tmp_path, monkeypatch, capsys):
    worse = {"difference": -0.3, "low": -0.4, "high": -0.2}
    monkeypatch.setattr(guard, "compare_networks", lambda *_: worse)
    assert carry_out("self-train", command(tmp_path, num_rounds=3), debug=True) == 0
    stages = results_of(tmp_path)["stages"]
    assert list(stages) == STAGES
    assert [stages[name]["guard"]["accepted"] for name in ("round_1", "round_2")] == [False, False]
    assert stages["round_1_labels"]["teacher"] == stages["round_2_labels"]["teacher"]
    assert results_of(tmp_path)["summary"]["final"] == "round_0"
    said = capsys.readouterr().out
    assert "round_1 is rejected, round_0 stays" in said
    assert "the loop ends here" in said


def test_rounds_differ_as_they_are_told(tmp_path, capsys):
    rounds = [{"pseudo_labels": {"labels": "hard"}}, {"student": {"network": "cnn_tiny"}}]
    first = dataclasses.replace(ROUND, student=NetworkSettings(network="cnn_small"), steps_per_epoch=12, ema_decay=None)
    assert carry_out("self-train", command(tmp_path, round=first, rounds=rounds), debug=True) == 0
    stages = results_of(tmp_path)["stages"]
    assert [stages[name]["parameters"] for name in ("round_1", "round_2")] == [16794, 1946]
    said = capsys.readouterr().out
    assert "the student of round 2 is smaller than its teacher (1,946 and 16,794 parameters)" in said
    assert "under noise it may not hold what the teacher knows" in said
    settings = json.loads((tmp_path / "loop" / "stages" / "2-round_1" / "settings.json").read_text())
    assert settings["round"]["pseudo_labels"]["labels"] == "hard"


def test_growth_takes_the_next_larger_network_within_the_budget(tmp_path):
    longer = dataclasses.replace(ROUND, steps_per_epoch=12, ema_decay=None)
    assert carry_out("self-train", command(tmp_path, round=longer, num_rounds=3, growth=20_000), debug=True) == 0
    stages = results_of(tmp_path)["stages"]
    assert [stages[f"round_{number}"]["parameters"] for number in (1, 2, 3)] == [1946, 16794, 16794]


def test_a_student_may_start_from_its_teachers_weights(tmp_path, monkeypatch, capsys):
    started = []
    original = callbacks.LastCheckpoint.on_train_start

    def note(self, trainer, pl_module):
        started.append(state_digest(pl_module.network))
        original(self, trainer, pl_module)

    monkeypatch.setattr(callbacks.LastCheckpoint, "on_train_start", note)
    previous = dataclasses.replace(ROUND, initialize="previous")
    assert carry_out("self-train", command(tmp_path, round=previous, num_rounds=1), debug=True) == 0
    assert started[1] == results_of(tmp_path)["stages"]["round_1_labels"]["teacher"]

    other = dataclasses.replace(previous, student=NetworkSettings(network="cnn_small"))
    assert carry_out("self-train", command(tmp_path, "other", round=other), debug=False) == 2
    assert "round 1: initialize: got 'previous'" in capsys.readouterr().err
    assert not (tmp_path / "other" / "stages").exists()


def test_a_student_starts_afresh_where_a_rejected_round_leaves_another_network(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(guard, "compare_networks", lambda *_: {"difference": -0.3, "low": -0.4, "high": -0.2})
    rounds = [{}, {"initialize": "previous"}]
    larger = dataclasses.replace(ROUND, student=NetworkSettings(network="cnn_small"), steps_per_epoch=12)
    assert carry_out("self-train", command(tmp_path, round=larger, rounds=rounds), debug=True) == 0
    assert "the student of round 2 starts afresh: its teacher is round_0, another network" in capsys.readouterr().out


def test_a_teacher_of_another_split_is_not_compared_on_what_it_may_have_seen(tmp_path, capsys):
    assert carry_out("self-train", command(tmp_path, "other", seed=1, num_rounds=1), debug=True) == 0
    checkpoint = tmp_path / "teacher.ckpt"
    shutil.copy(tmp_path / "other" / "stages" / "0-round_0" / "checkpoints" / "best.ckpt", checkpoint)
    ready = command(tmp_path, teacher=TeacherSettings(checkpoint=str(checkpoint)), num_rounds=1)
    assert carry_out("self-train", ready, debug=True) == 0
    assert results_of(tmp_path)["stages"]["round_1"]["guard"] == {"accepted": True, "teacher": "round_0"}
    assert "round_1 is accepted unjudged" in capsys.readouterr().out

    shutil.copy(tmp_path / "other" / "stages" / "2-round_1" / "checkpoints" / "best.ckpt", checkpoint)
    assert carry_out("self-train", ready, debug=False) == 2
    assert "teacher_checkpoint" in capsys.readouterr().err


def test_labels_that_nobody_is_sure_of_are_an_error_and_nothing_is_lost(tmp_path, capsys):
    sure = dataclasses.replace(ROUND, pseudo_labels=PseudoLabelSettings(confidence_threshold=1.0))
    assert carry_out("self-train", command(tmp_path, round=sure), debug=False) == 2
    assert "confidence_threshold" in capsys.readouterr().err
    assert (tmp_path / "loop" / "stages" / "0-round_0" / "stage.json").is_file()
    assert (tmp_path / "loop" / "pseudo_labels" / "round_1.parquet").is_file()


def test_without_a_pool_there_is_nothing_to_label(tmp_path, capsys):
    assert carry_out("self-train", command(tmp_path, data=DataSettings(num_validation=50)), debug=False) == 2
    assert "data.labels_per_class" in capsys.readouterr().err
