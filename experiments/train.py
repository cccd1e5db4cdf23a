"""Training of one network, on labels and, where there is a table of them, on pseudo-labels."""

from collections.abc import Callable
from functools import partial
from typing import Any

from datamodules.labeled import LabeledDataModule
from datamodules.pseudo_labeled import PseudoLabeledDataModule
from experiments.building import build_labeled, build_source
from experiments.building_networks import build_network
from experiments.commands import TrainCommand
from experiments.files import as_path, file_digest
from experiments.labelling import build_pseudo_labeled
from experiments.run import Run
from experiments.stage import Record, Stage
from experiments.tables import print_table
from experiments.training import Fitting
from lightning_modules.classification import ClassificationModule
from lightning_modules.noisy_student import NoisyStudentModule
from lightning_modules.student import StudentModule


def run(command: TrainCommand) -> dict[str, Any]:
    """Train, print the table, return what ``results.json`` holds."""
    pipeline = Run("train", command)
    source = build_source(command.data)
    labeled = build_labeled(source, command)
    network = build_network(command.model, source, command.seed, option="model", say=pipeline.say)
    create: Callable[..., StudentModule] = ClassificationModule
    data: LabeledDataModule | PseudoLabeledDataModule = labeled
    if command.table is not None:
        create = partial(NoisyStudentModule, pseudo_labels=command.pseudo_labels)
        table, steps_per_epoch = as_path(command.table), command.data.steps_per_epoch
        data = build_pseudo_labeled(labeled, table, command.pseudo_labels, steps_per_epoch=steps_per_epoch)
    module = create(
        network,
        source.num_classes,
        optimizer=command.optimizer,
        label_smoothing=command.label_smoothing,
        transfer=command.model.transfer,
    )
    fitting = Fitting(pipeline)

    def work(stage: Stage) -> Record:
        return fitting.fit(stage, module, data, command.trainer)

    pipeline.stage(
        "train",
        work,
        seed=command.seed,
        data=command.data,
        images=source.fingerprint,
        model=command.model,
        optimizer=command.optimizer,
        trainer=command.trainer,
        label_smoothing=command.label_smoothing,
        table=None if command.table is None else file_digest(as_path(command.table)),
        pseudo_labels=command.pseudo_labels,
    )
    results = pipeline.finish(source.num_skipped)
    if pipeline.is_main:
        print_table(results)
    return results
