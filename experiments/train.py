"""Supervised training of one network."""

from typing import Any

from experiments.building import build_labeled, build_network, build_source
from experiments.commands import TrainCommand
from experiments.run import Run
from experiments.stage import Record, Stage
from experiments.tables import print_table
from experiments.training import Fitting
from lightning_modules.classification import ClassificationModule


def run(command: TrainCommand) -> dict[str, Any]:
    """Train, print the table, return what ``results.json`` holds."""
    pipeline = Run("train", command)
    source = build_source(command.data)
    data = build_labeled(source, command)
    network = build_network(command.model, source, command.seed, option="model", say=pipeline.say)
    module = ClassificationModule(
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
    )
    results = pipeline.finish(source.num_skipped)
    if pipeline.is_main:
        print_table(results)
    return results
