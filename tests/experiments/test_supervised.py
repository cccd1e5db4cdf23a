"""Teachers: trained or taken as they are, and never with a classifier that nobody trained."""

import csv

import pytest
import torch

from datamodules.labeled import LabeledDataModule
from datamodules.sources import create_source
from experiments.commands import TrainCommand
from experiments.network_settings import TeacherSettings
from experiments.run import Run
from experiments.settings import TrainerSettings
from experiments.supervised import build_teacher, teach, trained_teacher
from experiments.tasks import Task
from experiments.training import Fitting
from lightning_modules.checkpoints import AtomicCheckpointIO, load_checkpoint
from lightning_modules.classification import ClassificationModule
from lightning_modules.networks import create_network
from lightning_modules.settings import OptimizerSettings, TransferSettings

TRAINER = TrainerSettings(max_epochs=1, accelerator="cpu", enable_progress_bar=False)


@pytest.fixture
def pipeline(tmp_path):
    return Run("train", TrainCommand(output=str(tmp_path), name="r", wandb="off", trainer=TRAINER))


def do(pipeline, teacher, source):
    data = LabeledDataModule(source, batch_size=16, steps_per_epoch=3)
    task = Task(source)
    return pipeline.stage("teacher", lambda stage: teach(stage, Fitting(pipeline), teacher, data, TRAINER, task))


def checkpoint_for(num_classes, path):
    """Write a checkpoint of an untrained network."""
    module = ClassificationModule(create_network("cnn_tiny", num_classes=num_classes, num_channels=1), num_classes)
    content = {"state_dict": module.state_dict()}
    module.on_save_checkpoint(content)
    AtomicCheckpointIO().save_checkpoint(content, path)
    return str(path), module.network


def test_a_teacher_learns_in_its_layers_for_its_epochs(pipeline, source):
    teacher = TeacherSettings(
        network="cnn_tiny", max_epochs=2, transfer=TransferSettings(mode="gradual", unfreeze_every=9)
    )
    assert do(pipeline, teacher, source)["steps"] == 6
    initial = build_teacher(teacher, source, 0).state_dict()
    for name, value in trained_teacher(pipeline, "teacher", teacher, source).state_dict().items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(value, initial[name]) == (".classifier." not in name)


def test_a_checkpoint_is_taken_as_it_is(pipeline, source, tmp_path):
    path, network = checkpoint_for(3, tmp_path / "three.ckpt")
    teacher = TeacherSettings(checkpoint=path)
    assert do(pipeline, teacher, source)["steps"] is None
    found = trained_teacher(pipeline, "teacher", teacher, source).state_dict()
    assert all(torch.equal(value, found[name]) for name, value in network.state_dict().items())


def test_no_teacher_has_a_classifier_that_nobody_trained(pipeline, source, tmp_path):
    path, _ = checkpoint_for(7, tmp_path / "seven.ckpt")
    with pytest.raises(ValueError, match=r"seven.ckpt: its num_classes is 7, stripes has 3"):
        do(pipeline, TeacherSettings(checkpoint=path), source)
    published = TeacherSettings(network="resnet18", pretrained=True, train=False)
    with pytest.raises(ValueError, match=r"teacher.train: got False, but resnet18 was published for 1000 classes"):
        do(pipeline, published, source)


def test_a_teacher_may_be_the_average_of_its_weights(pipeline, source):
    averaged = TeacherSettings(network="cnn_tiny", max_epochs=2, ema_decay=0.9)
    do(pipeline, averaged, source)
    last = load_checkpoint(pipeline.directory / "stages" / "0-teacher" / "checkpoints" / "last.ckpt")
    averages, weights = last["state_dict"], last["current_model_state"]
    assert averages.keys() == weights.keys()
    assert not any(torch.equal(averages[name], weights[name]) for name in weights if name.endswith(".weight"))


def test_a_decay_that_is_none_is_named():
    with pytest.raises(ValueError, match=r"teacher.ema_decay: got 1.5, expected a decay in \(0, 1\)"):
        TeacherSettings(ema_decay=1.5)


def test_the_recorded_validation_is_that_of_the_best_average(pipeline):
    """Lightning's callback would validate the last step's average in the place of the weights that were loaded."""
    data = LabeledDataModule(
        create_source("digits"), labels_per_class=10, num_validation=200, batch_size=32, steps_per_epoch=3
    )
    optimizer = OptimizerSettings(lr=0.1, schedule="constant")
    averaged = TeacherSettings(network="cnn_tiny", max_epochs=30, ema_decay=0.2, optimizer=optimizer)
    task = Task(data.source)
    record = pipeline.stage("teacher", lambda stage: teach(stage, Fitting(pipeline), averaged, data, TRAINER, task))
    best = task.supervised(trained_teacher(pipeline, "teacher", averaged, data.source))
    again = pipeline.stage("again", lambda stage: Fitting(pipeline).evaluate(best, data, TRAINER, stage.directory))
    assert record["metrics"] == pytest.approx(again["metrics"], abs=1e-6)
    with (pipeline.directory / "stages" / "0-teacher" / "metrics.csv").open(newline="") as file:
        accuracies = [float(row["val/accuracy"]) for row in csv.DictReader(file) if row["val/accuracy"]]
    assert accuracies[-2] < max(accuracies) == accuracies[-1]  # the last epoch is not the best; the end is
