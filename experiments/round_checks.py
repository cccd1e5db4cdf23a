"""Mistakes in the settings of a self-training loop, found before anything is trained."""

from collections.abc import Sequence

from torch import nn

from datamodules.pseudo_labeled import pseudo_labeled_batch_size
from datamodules.pseudo_masks import require_mask_options
from datamodules.selection import class_thresholds
from datamodules.sources.source import Source
from experiments.building import build_mixing, build_view, has_masks
from experiments.building_networks import build_network
from experiments.rounds import RoundSettings
from experiments.self_train_settings import SelfTrainCommand
from experiments.supervised import build_teacher, with_epochs
from lightning_modules.optimizers import create_optimizer, create_schedule
from lightning_modules.settings import require
from lightning_modules.transfer import begin_transfer


def require_trainable(command: SelfTrainCommand, rounds: Sequence[RoundSettings], source: Source) -> None:
    """Raise a ``ValueError`` that names the round unless every student can be built, taught and finetuned.

    Args:
        command: what the user set.
        rounds: the settings of each round.
        source: the images.
    """
    for number, settings in enumerate(rounds, start=1):
        try:
            require_round(command, settings, source)
        except ValueError as error:
            raise ValueError(f"round {number}: {error}") from error
    require_start(command, rounds[0], source)
    if command.finetune.max_epochs:
        with_epochs(command.trainer, command.finetune.max_epochs)


def require_round(command: SelfTrainCommand, settings: RoundSettings, source: Source) -> None:
    """Raise a ``ValueError`` unless a round's network, optimizer, length, views and selection fit the data."""
    network = build_network(settings.student, source, command.seed, option="student")
    begin_transfer(network, settings.student.transfer)
    optimizer = create_optimizer(network, settings.optimizer, settings.student.transfer)
    trainer = with_epochs(command.trainer, settings.max_epochs)
    steps_per_epoch = settings.steps_per_epoch or command.data.steps_per_epoch
    if steps_per_epoch is not None:  # else it follows from how many labels are selected
        num_steps = trainer.max_epochs * -(-steps_per_epoch // trainer.accumulate_grad_batches)
        create_schedule(optimizer, settings.optimizer, num_steps)
    for option in ("noise", "labeled_noise"):
        build_view(getattr(settings, option), command.seed, source, option)
        build_mixing(getattr(settings, option), source, command.seed, option)
    sizes = [getattr(settings, option).crop_size for option in ("noise", "labeled_noise")]
    require(sizes[0] == sizes[1], "noise.crop_size", sizes[0], f"that of labeled_noise, {sizes[1]}: they share a batch")
    labels = settings.pseudo_labels
    class_thresholds(labels.confidence_threshold, source.num_classes)
    if has_masks(source):
        require_mask_options(labels.labels, labels.max_per_class, labels.align)
    pseudo_labeled_batch_size(command.data.batch_size, settings.pseudo_labels.ratio)


def require_start(command: SelfTrainCommand, first: RoundSettings, source: Source) -> None:
    """Raise a ``ValueError`` where the first student is to start from a teacher of another shape."""
    if first.initialize == "fresh":
        return
    teacher = build_teacher(command.teacher, source, command.seed)
    if not have_same_shape(build_network(first.student, source, command.seed, option="student"), teacher):
        raise ValueError(
            f"round 1: initialize: got 'previous', expected 'fresh', or the teacher's network as student.network: the "
            f"weights of {command.teacher.name} do not fit {first.student.name}"
        )


def have_same_shape(network: nn.Module, other: nn.Module) -> bool:
    """Return whether one network can take the other's weights."""
    shapes = [{name: value.shape for name, value in each.state_dict().items()} for each in (network, other)]
    return shapes[0] == shapes[1]
