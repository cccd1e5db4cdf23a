"""The self-training loop on images with masks: the same loop, pseudo-masks in the place of pseudo-labels."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from datamodules.pseudo_labels import PseudoLabels
from datamodules.sources import create_source
from datamodules.sources.source import MaskArray
from experiments import building, self_train
from experiments.command_line import carry_out
from experiments.commands import DistillCommand, PseudoLabelCommand, SegmentCommand
from experiments.network_settings import NetworkSettings, TeacherSettings
from experiments.pseudo_label_settings import PseudoLabelSettings, SelectionSettings
from experiments.rounds import RoundSettings
from experiments.self_train_settings import SelfTrainCommand
from experiments.settings import AugmentationSettings, DataSettings, TrainerSettings
from lightning_modules.checkpoints import load_network
from lightning_modules.teacher import state_digest

SMALL = {"network": "unet", "options": {"width": 4, "depth": 1}}
DATA = DataSettings(
    source="digit_scenes", num_scenes=30, side=32, batch_size=4, num_labeled=8, num_validation=6, steps_per_epoch=3
)
ROUND = RoundSettings(
    student=NetworkSettings(**SMALL),
    noise=AugmentationSettings(policy="strong", horizontal_flip=False),
    labeled_noise=AugmentationSettings(policy="weak", horizontal_flip=False),
    pseudo_labels=PseudoLabelSettings(labels="hard", confidence_threshold=0.05, balance=True, flip=True),
    steps_per_epoch=3,
)
TRAINER = TrainerSettings(max_epochs=2, accelerator="cpu", enable_progress_bar=False)


def command(output: Path, name: str = "loop", **changes) -> SelfTrainCommand:
    settings = {"data": DATA, "teacher": TeacherSettings(**SMALL), "round": ROUND, "trainer": TRAINER, "num_rounds": 2}
    return SelfTrainCommand(output=str(output), name=name, wandb="off", **(settings | changes))


def results_of(output: Path, name: str = "loop") -> dict:
    return json.loads((output / name / "results.json").read_text())


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("masks")
    assert carry_out("self-train", command(output), debug=True) == 0
    return output


def test_each_round_has_its_masks_and_what_they_are_worth(whole):
    results = results_of(whole)
    stages = results["stages"]
    assert {"round_0", "round_1", "round_2", "supervised", "supervised_noised", "supervised_all_labels"} <= set(stages)
    for number in (1, 2):
        numbers = stages[f"round_{number}"]["pseudo_labels"]
        assert numbers["pool"] == 16
        assert 0 <= numbers["mean_iou"] <= 1
        assert 0 < numbers["selected_share"] <= 1
        assert len(numbers["per_class"]) == 11
        table = PseudoLabels.read(whole / "loop" / numbers["table"])
        assert len(list(table.masks.glob("*.png"))) == 2 * 16
        assert table.metadata.view == "flip"
    assert stages["round_2_labels"]["pseudo_labels"]["changed"] >= 0
    assert (whole / "loop" / "pseudo_labels.png").is_file()
    assert "points of mean IoU on test" in results["summary"]["sentence"]


def test_the_pools_masks_reach_no_loss(whole, tmp_path, monkeypatch):
    """With all masks of the pool replaced by noise the last student is the same, bit for bit."""

    def create_without_truth(*names, **options):
        source = create_source(*names, **options)
        labeled = building.SegmentationDataModule(source, num_labeled=8, num_validation=6)
        masks = source.train.masks.masks.clone()
        hidden = torch.isin(source.train.ids, labeled.pool.ids)
        masks[hidden] = torch.randint(0, 11, masks[hidden].shape, dtype=torch.uint8)
        return dataclasses.replace(source, train=dataclasses.replace(source.train, masks=MaskArray(masks)))

    monkeypatch.setattr(building, "create_source", create_without_truth)
    monkeypatch.setattr(self_train, "draw_audit", lambda *_: None)
    assert carry_out("self-train", command(tmp_path, baselines=False), debug=True) == 0
    last = [output / "loop" / results_of(output)["stages"]["round_2"]["checkpoint"] for output in (whole, tmp_path)]
    assert state_digest(load_network(last[0])) == state_digest(load_network(last[1]))
    accuracies = [results_of(output)["stages"]["round_2"]["pseudo_labels"]["mean_iou"] for output in (whole, tmp_path)]
    assert accuracies[0] != accuracies[1]


def test_a_mask_that_was_tampered_with_is_named(whole, tmp_path, capsys):
    table = PseudoLabels.read(whole / "loop" / results_of(whole)["stages"]["round_1"]["pseudo_labels"]["table"])
    victim = sorted(table.masks.glob("*.png"))[0]
    kept = victim.read_bytes()
    try:
        victim.write_bytes(sorted(table.masks.glob("*.png"))[2].read_bytes())
        segment = SegmentCommand(
            output=str(tmp_path),
            wandb="off",
            data=DATA,
            model=NetworkSettings(**SMALL),
            table=str(whole / "loop" / "pseudo_labels" / "round_1.parquet"),
            trainer=TRAINER,
        )
        assert carry_out("segment", segment, debug=False) == 2
        assert victim.name in capsys.readouterr().err
    finally:
        victim.write_bytes(kept)


def test_a_table_of_one_command_is_taken_by_another(whole, tmp_path, capsys):
    checkpoint = whole / "loop" / results_of(whole)["stages"]["round_0"]["checkpoint"]
    table = tmp_path / "table.parquet"
    label = PseudoLabelCommand(checkpoint=str(checkpoint), output=str(table), data=DATA, trainer=TRAINER)
    assert carry_out("pseudo-label", label, debug=True) == 0
    assert "mean IoU against the pool's hidden truth" in capsys.readouterr().out
    options = {"data": DATA, "model": NetworkSettings(**SMALL), "trainer": TRAINER, "wandb": "off"}
    losses = []
    for name, threshold in (("some", 0.3), ("all", 0.0)):
        taught = SelectionSettings(labels="hard", confidence_threshold=threshold)
        segment = SegmentCommand(output=str(tmp_path), name=name, table=str(table), pseudo_labels=taught, **options)
        assert carry_out("segment", segment, debug=True) == 0
        losses.append(results_of(tmp_path, name)["stages"]["train"]["metrics"]["val/loss"])
    assert losses[0] != losses[1]


def test_distill_refuses_a_table_that_does_not_fit_before_it_trains(whole, tmp_path, capsys):
    table = whole / "loop" / "pseudo_labels" / "round_1.parquet"
    settings = {"data": DATA, "student": NetworkSettings(**SMALL), "trainer": TRAINER, "wandb": "off"}
    distill = DistillCommand(output=str(tmp_path), table=str(table), **settings)
    assert carry_out("distill", distill, debug=False) == 2
    assert "expected 'hard' for images with masks" in capsys.readouterr().err
    assert not list(tmp_path.glob("distill/stages/*"))


@pytest.mark.parametrize(
    ("noise", "message"),
    [
        ({"mixup_alpha": 0.2}, "labeled_noise.mixup_alpha: got 0.2"),
        ({"crop_size": 16}, "noise.crop_size: got None, expected that of labeled_noise, 16"),
    ],
)
def test_views_that_masks_cannot_have_show_before_anything_is_trained(noise, message, tmp_path, capsys):
    settings = dataclasses.replace(ROUND, labeled_noise=AugmentationSettings(**noise))
    assert carry_out("self-train", command(tmp_path, round=settings), debug=False) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.glob("loop/stages/*"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": "soft"}, "expected 'hard' for images with masks"),
        ({"max_per_class": 3}, "max_per_class: got 3, expected none for images with masks"),
        ({"align": True}, "align: got true, expected false for images with masks"),
    ],
)
def test_what_masks_cannot_do_shows_before_anything_is_trained(changes, message, tmp_path, capsys):
    labels = dataclasses.replace(ROUND.pseudo_labels, **changes)
    settings = dataclasses.replace(ROUND, pseudo_labels=labels)
    assert carry_out("self-train", command(tmp_path, round=settings), debug=False) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.glob("loop/stages/*"))
