"""Mistakes in the settings of a self-training loop, found before anything is trained."""

from collections.abc import Sequence

from datamodules.pseudo_labeled import pseudo_labeled_batch_size
from datamodules.selection import class_thresholds
from datamodules.sources.source import Source
from experiments.building import build_network, build_view
from experiments.commands import SelfTrainCommand
from experiments.rounds import RoundSettings
from experiments.supervised import with_epochs
from lightning_modules.optimizers import create_optimizer, create_schedule
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
    for augmentation in (settings.noise, settings.labeled_noise):
        build_view(augmentation, command.seed)
    class_thresholds(settings.pseudo_labels.confidence_threshold, source.num_classes)
    pseudo_labeled_batch_size(command.data.batch_size, settings.pseudo_labels.ratio)
