"""The commands from end to end, in one process and in two."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from experiments.command_line import carry_out
from experiments.commands import DistillCommand, EvaluateCommand, TrainCommand
from experiments.network_settings import NetworkSettings, TeacherSettings
from experiments.settings import DataSettings, TrainerSettings
from lightning_modules.checkpoints import load_checkpoint, load_network
from lightning_modules.settings import OptimizerSettings
from tests.conftest import run_command

DATA = DataSettings(labels_per_class=5, num_validation=51, steps_per_epoch=5)
TRAINER = TrainerSettings(max_epochs=2, accelerator="cpu", enable_progress_bar=False)


def results(directory: Path) -> dict:
    return json.loads((directory / "results.json").read_text())


def distill(tmp_path: Path, name: str, **changes) -> dict:
    settings = {
        "data": DATA,
        "trainer": TRAINER,
        "teacher": TeacherSettings(network="cnn_small"),
        "student": NetworkSettings(network="cnn_tiny"),
    }
    command = DistillCommand(output=str(tmp_path), name=name, wandb="off", **(settings | changes))
    assert carry_out("distill", command, debug=True) == 0
    return results(tmp_path / name)


def test_distill_writes_what_the_design_promises(tmp_path, capsys):
    found = distill(tmp_path, "run")
    assert list(found["stages"]) == ["teacher", "student_alone", "student_distilled", "student_all_labels"]
    for name, record in found["stages"].items():
        assert record["parameters"] == (16_794 if name == "teacher" else 1_946)
        assert record["steps"] == 10
        assert record["seconds"] > 0
        assert set(record["metrics"]) >= {"val/accuracy", "test/accuracy", "test/loss", "test/f1"}
        assert all(0 <= record["metrics"][key] <= 1 for key in ("val/accuracy", "test/accuracy", "test/f1"))
        checkpoint = tmp_path / "run" / record["checkpoint"]
        state = load_checkpoint(checkpoint)["state_dict"]
        assert not any("teacher" in key for key in state)
        assert (checkpoint.parent.parent / "metrics.csv").exists()
    assert (tmp_path / "run" / "config.yaml").exists()
    table = capsys.readouterr().out
    assert "student distilled" in table
    assert "Distillation gained" in table


def test_the_students_start_alike_and_the_teacher_saw_all_labels(tmp_path):
    found = distill(
        tmp_path, "run", trainer=TrainerSettings(max_epochs=12, accelerator="cpu", enable_progress_bar=False)
    )
    accuracies = {name: record["metrics"]["test/accuracy"] for name, record in found["stages"].items()}
    assert accuracies["teacher"] > 0.8
    assert accuracies["teacher"] > accuracies["student_alone"]


def test_a_teacher_from_a_checkpoint_is_not_trained(tmp_path):
    first = distill(tmp_path, "first")
    checkpoint = str(tmp_path / "first" / first["stages"]["teacher"]["checkpoint"])
    second = distill(tmp_path, "second", teacher=TeacherSettings(checkpoint=checkpoint))
    teacher = second["stages"]["teacher"]
    assert teacher["seconds"] is None
    assert teacher["metrics"] == first["stages"]["teacher"]["metrics"]
    assert second["stages"]["student_distilled"]["metrics"] == first["stages"]["student_distilled"]["metrics"]


def test_a_teacher_for_other_classes_is_refused_before_training(tmp_path, capsys):
    from lightning_modules.checkpoints import AtomicCheckpointIO
    from lightning_modules.classification import ClassificationModule
    from lightning_modules.networks import create_network

    module = ClassificationModule(create_network("cnn_tiny", num_classes=7, num_channels=1), 7)
    checkpoint = {"state_dict": module.state_dict()}
    module.on_save_checkpoint(checkpoint)
    AtomicCheckpointIO().save_checkpoint(checkpoint, tmp_path / "seven.ckpt")
    teacher = TeacherSettings(checkpoint=str(tmp_path / "seven.ckpt"))
    command = DistillCommand(output=str(tmp_path), name="x", wandb="off", data=DATA, trainer=TRAINER, teacher=teacher)
    assert carry_out("distill", command, debug=False) == 2
    assert "seven.ckpt: its num_classes is 7, digits has 10" in capsys.readouterr().err


def test_without_unlabelled_images_the_student_learns_from_labelled_ones(tmp_path):
    found = distill(tmp_path, "run", data=DataSettings(num_validation=51, steps_per_epoch=5))
    assert list(found["stages"]) == ["teacher", "student_alone", "student_distilled"]


def test_train_and_evaluate_agree(tmp_path):
    command = TrainCommand(output=str(tmp_path), name="t", wandb="off", data=DATA, trainer=TRAINER)
    assert carry_out("train", command, debug=True) == 0
    record = results(tmp_path / "t")["stages"]["train"]
    checkpoint = tmp_path / "t" / record["checkpoint"]
    evaluation = EvaluateCommand(
        output=str(tmp_path), name="e", wandb="off", checkpoint=str(checkpoint), data=DATA, trainer=TRAINER
    )
    assert carry_out("evaluate", evaluation, debug=True) == 0
    again = results(tmp_path / "e")["stages"]["evaluate"]["metrics"]
    assert again == pytest.approx(record["metrics"], abs=1e-6)


@pytest.mark.slow
def test_two_processes_train_and_count_every_sample_once(tmp_path):
    options = {
        "--output": tmp_path,
        "--name": "two",
        "--wandb": "off",
        "--data.num_validation": 51,
        "--data.labels_per_class": 5,
        "--data.steps_per_epoch": 5,
        "--data.eval_batch_size": 32,
        "--teacher.network": "cnn_small",
        "--student.network": "cnn_tiny",
        "--trainer.max_epochs": 2,
        "--trainer.devices": 2,
        "--trainer.accelerator": "cpu",
    }
    result = run_command("distill", *(x for pair in options.items() for x in pair))
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("Distillation gained") == 1
    found = results(tmp_path / "two")["stages"]
    assert {record["processes"] for record in found.values()} == {2}

    digits = load_digits()
    images = torch.from_numpy(digits.images).mul(255 / 16).round().div(255).float().unsqueeze(1)
    occurrence = dict.fromkeys(range(10), 0)
    is_test = []
    for label in digits.target.tolist():  # every fourth of each class
        occurrence[label] += 1
        is_test.append(occurrence[label] % 4 == 0)
    is_test = torch.tensor(is_test)
    targets = torch.from_numpy(digits.target)[is_test]
    for record in found.values():
        network = load_network(tmp_path / "two" / record["checkpoint"]).eval()
        with torch.no_grad():
            correct = (network(images[is_test]).argmax(1) == targets).sum()
        assert record["metrics"]["test/accuracy"] == pytest.approx(int(correct) / 445, abs=1e-6)
        assert round(record["metrics"]["val/accuracy"] * 51) == pytest.approx(
            record["metrics"]["val/accuracy"] * 51, abs=1e-4
        )


def write_photographs(root: Path) -> None:
    """Write two classes that differ in colour, one of the training files truncated."""
    for split, number in (("train", 12), ("test", 4)):
        for name, color in (("warm", (220, 120, 40)), ("cold", (40, 120, 220))):
            (root / split / name).mkdir(parents=True)
            for index in range(number):
                noise = torch.randint(-30, 30, (48, 64, 3), generator=torch.Generator().manual_seed(index))
                pixels = (torch.tensor(color) + noise).clamp(0, 255).byte().numpy()
                Image.fromarray(pixels).save(root / split / name / f"{index}.jpg")
    damaged = root / "train" / "warm" / "3.jpg"
    damaged.write_bytes(damaged.read_bytes()[:-300])


@pytest.mark.parametrize("on_bad_image", ["skip", "raise"])
def test_a_folder_of_photographs_with_a_damaged_file(tmp_path, capsys, on_bad_image):
    write_photographs(tmp_path / "photographs")
    data = DataSettings(
        source="image_folder",
        root=str(tmp_path / "photographs"),
        image_size=32,
        on_bad_image=on_bad_image,
        num_validation=4,
        batch_size=8,
    )
    command = TrainCommand(output=str(tmp_path), name="t", wandb="off", data=data, trainer=TRAINER)
    status = carry_out("train", command, debug=False)
    said = capsys.readouterr()
    if on_bad_image == "raise":
        assert status == 2
        assert "3.jpg" in said.err
    else:
        assert status == 0, said.err
        assert "1 unreadable images were skipped" in said.out
        found = results(tmp_path / "t")
        assert found["skipped_images"] == 1
        assert found["stages"]["train"]["metrics"]["test/accuracy"] >= 0.5


def test_another_split_is_not_validated_on(tmp_path, capsys):
    command = TrainCommand(output=str(tmp_path), name="t", wandb="off", data=DATA, trainer=TRAINER, seed=1)
    assert carry_out("train", command, debug=True) == 0
    checkpoint = str(tmp_path / "t" / results(tmp_path / "t")["stages"]["train"]["checkpoint"])
    evaluation = EvaluateCommand(output=str(tmp_path), wandb="off", checkpoint=checkpoint, data=DATA, trainer=TRAINER)
    assert carry_out("evaluate", evaluation, debug=True) == 0
    assert "was trained on another split of the data" in capsys.readouterr().out
    (directory,) = tmp_path.glob("evaluate-*")
    metrics = results(directory)["stages"]["evaluate"]["metrics"]
    assert "test/accuracy" in metrics
    assert not any(name.startswith("val/") for name in metrics)


def test_results_of_another_command_are_not_overwritten(tmp_path, capsys):
    command = TrainCommand(output=str(tmp_path), name="t", wandb="off", data=DATA, trainer=TRAINER)
    assert carry_out("train", command, debug=True) == 0
    checkpoint = str(tmp_path / "t" / results(tmp_path / "t")["stages"]["train"]["checkpoint"])
    evaluation = EvaluateCommand(output=str(tmp_path), name="t", wandb="off", checkpoint=checkpoint, data=DATA)
    assert carry_out("evaluate", evaluation, debug=False) == 2
    assert "holds the results of 'train', which 'evaluate' would overwrite" in capsys.readouterr().err


def test_other_images_under_the_same_name_are_refused(tmp_path, capsys):
    for root in ("a", "b"):
        write_photographs(tmp_path / root)
    (tmp_path / "b" / "train" / "cold" / "0.jpg").unlink()
    commands = [
        TrainCommand(
            output=str(tmp_path),
            name="t",
            wandb="off",
            trainer=TRAINER,
            data=DataSettings(
                source="image_folder", root=str(tmp_path / root), image_size=32, num_validation=4, on_bad_image="skip"
            ),
        )
        for root in ("a", "b")
    ]
    assert carry_out("train", commands[0], debug=True) == 0
    assert carry_out("train", commands[1], debug=False) == 2
    assert "images: got" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer": OptimizerSettings(name="adamx")}, "optimizer.name: got 'adamx'"),
        ({"optimizer": OptimizerSettings(warmup_steps=1000)}, "optimizer.warmup_steps: got 1000, expected fewer than"),
        (
            {"teacher": TeacherSettings(network="resnet18", pretrained=True, train=False)},
            "resnet18 was published for 1000 classes and digits has 10: its classifier would be random",
        ),
    ],
)
def test_mistakes_show_before_the_teacher_trains(tmp_path, capsys, changes, message):
    command = DistillCommand(output=str(tmp_path), name="x", wandb="off", data=DATA, trainer=TRAINER, **changes)
    assert carry_out("distill", command, debug=False) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "x" / "stages").exists()
