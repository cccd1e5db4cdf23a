"""Training of one network, on labels and, where there is a table of them, on pseudo-labels."""

from typing import Any

from datamodules.labeled import LabeledDataModule
from datamodules.pseudo_labeled import PseudoLabeledDataModule
from experiments.building import build_labeled, build_source, has_masks
from experiments.building_networks import build_network
from experiments.commands import SegmentCommand, TrainCommand
from experiments.files import as_path, file_digest
from experiments.labelling import build_pseudo_labeled
from experiments.run import Run
from experiments.stage import Record, Stage
from experiments.tables import print_table
from experiments.tasks import Task
from experiments.training import Fitting
from lightning_modules.noisy_student import NoisyStudentModule


def run(command: TrainCommand) -> dict[str, Any]:
    """Train, print the table, return what ``results.json`` holds.

    Raises:
        ValueError: the source's targets are masks.
    """
    source = build_source(command.data)
    if has_masks(source):
        raise ValueError(
            f"data.source: got {source.name}, whose targets are masks, expected one whose targets are classes; use the "
            "command segment"
        )
    pipeline = Run("train", command)
    train(pipeline, command, Task(source, label_smoothing=command.label_smoothing))
    results = pipeline.finish(source.num_skipped)
    if pipeline.is_main:
        print_table(results)
    return results


def train(pipeline: Run, command: TrainCommand | SegmentCommand, task: Task) -> Record:
    """Do the stage ``train``, unless it is done, and return its record.

    Args:
        pipeline: the run it belongs to.
        command: what the user set.
        task: the source, and what is measured and minimised.
    """
    source = task.source
    labeled = build_labeled(source, command)
    network = build_network(command.model, source, command.seed, option="model", say=pipeline.say)
    options: dict[str, Any] = {"optimizer": command.optimizer, "transfer": command.model.transfer}
    data: LabeledDataModule | PseudoLabeledDataModule = labeled
    if command.table is None:
        module = task.supervised(network, **options)
    else:
        options |= {"pseudo_labels": command.pseudo_labels} | task.of_students()
        module = NoisyStudentModule(network, source.num_classes, **options)
        table, steps_per_epoch = as_path(command.table), command.data.steps_per_epoch
        data = build_pseudo_labeled(labeled, table, command.pseudo_labels, steps_per_epoch=steps_per_epoch)
    fitting = Fitting(pipeline)

    def work(stage: Stage) -> Record:
        return fitting.fit(stage, module, data, command.trainer)

    return pipeline.stage(
        "train",
        work,
        seed=command.seed,
        data=command.data,
        images=source.fingerprint,
        model=command.model,
        optimizer=command.optimizer,
        trainer=command.trainer,
        **task.settings,
        table=None if command.table is None else file_digest(as_path(command.table)),
        pseudo_labels=command.pseudo_labels,
    )
