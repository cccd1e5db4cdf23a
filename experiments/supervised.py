"""Stages that learn from true labels alone: teachers, baselines, finetuning."""

import dataclasses
from typing import Any

from lightning.pytorch.callbacks import Callback, EMAWeightAveraging
from timm.models import get_pretrained_cfg
from torch import nn

from datamodules.labeled import LabeledDataModule
from datamodules.sources.source import Source
from experiments.building_networks import build_network
from experiments.class_names import require_same_classes
from experiments.files import as_path, file_digest
from experiments.network_settings import TeacherSettings
from experiments.run import Run
from experiments.settings import TrainerSettings
from experiments.stage import Record, Stage
from experiments.tasks import Task
from experiments.training import Fitting
from lightning_modules.checkpoints import load_network
from lightning_modules.networks.names import SEGMENTATION, TIMM, resolve
from lightning_modules.networks.segmentation import torchvision_segmentation
from lightning_modules.networks.segmentation.torchvision_segmentation import NUM_PUBLISHED_CLASSES as NUM_MASK_CLASSES
from lightning_modules.networks.torchvision_networks import NUM_PUBLISHED_CLASSES
from lightning_modules.settings import OptimizerSettings, TransferSettings


def teach(
    stage: Stage,
    fitting: Fitting,
    teacher: TeacherSettings,
    data: LabeledDataModule,
    trainer: TrainerSettings,
    task: Task,
) -> Record:
    """Train a teacher, or evaluate it as its checkpoint or its published weights have it.

    Raises:
        ValueError: a teacher that is not trained is of other classes.
    """
    network = build_teacher(teacher, data.source, fitting.run.settings.seed)
    if teacher.checkpoint is not None or not teacher.train:
        return fitting.evaluate(task.supervised(network), data, trainer, stage.directory, teacher.checkpoint)
    trainer = with_epochs(trainer, teacher.max_epochs)
    optimizer, transfer = teacher.optimizer, teacher.transfer
    return learn_supervised(stage, fitting, network, data, optimizer, trainer, task, transfer, teacher.ema_decay)


def teacher_settings(teacher: TeacherSettings) -> dict[str, Any]:
    """Return what a stage depends on through its teacher: the settings, and the SHA-256 of the checkpoint if any."""
    if teacher.checkpoint is None:
        return {"teacher": teacher}
    return {"teacher": teacher, "teacher_checkpoint": file_digest(as_path(teacher.checkpoint))}


def trained_teacher(run: Run, stage: str, teacher: TeacherSettings, source: Source) -> nn.Module:
    """Return the network that the stage named ``stage``, which ``teach`` did, ended with."""
    checkpoint = run.records[stage]["checkpoint"]
    if checkpoint is None:
        return build_teacher(teacher, source, run.settings.seed)
    return load_network(run.directory / checkpoint)


def build_teacher(teacher: TeacherSettings, source: Source, seed: int) -> nn.Module:
    """Return a teacher before training, or as it comes where it is not trained.

    Raises:
        ValueError: a teacher that is not trained is of other classes.
    """
    require_published_classes(teacher, source)
    network = build_network(teacher, source, seed, option="teacher", exact=True)
    if teacher.checkpoint is not None:
        require_same_classes(teacher.checkpoint, source, "teacher.checkpoint")
    return network


def require_published_classes(teacher: TeacherSettings, source: Source) -> None:
    """Raise a ``ValueError`` where a teacher that is not trained would have a random classifier.

    The published classifier is replaced, without a word, where another number of classes is asked for.
    """
    if teacher.train or teacher.checkpoint is not None:
        return
    num_classes = num_published_classes(teacher.name)
    if num_classes != source.num_classes:
        raise ValueError(
            f"teacher.train: got False, but {teacher.name} was published for {num_classes} classes and "
            f"{source.name} has {source.num_classes}: its classifier would be random; use --teacher.train true"
        )


def num_published_classes(name: str) -> int:
    """Return for how many classes a network was published; 0 where only its encoder was."""
    origin, own_name = resolve(name)
    if origin is SEGMENTATION:
        return NUM_MASK_CLASSES if own_name in torchvision_segmentation.NAMES else 0
    published = get_pretrained_cfg(own_name, allow_unregistered=True) if origin is TIMM else None
    return getattr(published, "num_classes", None) or NUM_PUBLISHED_CLASSES


def learn_supervised(
    stage: Stage,
    fitting: Fitting,
    network: nn.Module,
    data: LabeledDataModule,
    optimizer: OptimizerSettings,
    trainer: TrainerSettings,
    task: Task,
    transfer: TransferSettings | None = None,
    ema_decay: float | None = None,
) -> Record:
    """Train a network on labelled images alone; afterwards it has the weights of its best epoch."""
    module = task.supervised(network, optimizer=optimizer, transfer=transfer)
    return fitting.fit(stage, module, data, trainer, averaging(ema_decay))


def averaging(ema_decay: float | None) -> list[Callback]:
    """Return the callback that validates and keeps the moving average of the weights, if there is a decay."""
    return [] if ema_decay is None else [EMAWeightAveraging(decay=ema_decay)]


def with_epochs(trainer: TrainerSettings, max_epochs: int | None) -> TrainerSettings:
    """Return the trainer's settings with another number of epochs, if one is given."""
    return trainer if max_epochs is None else dataclasses.replace(trainer, max_epochs=max_epochs)
