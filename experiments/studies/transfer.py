"""Transfer learning on real data: what pretraining on some classes is worth to others that have few labels.

Fashion-MNIST's classes 0 to 4 with all labels, then 5 to 9 with 20 labels each: from scratch, and from the pretrained
weights in every mode. The pretrained head is of other classes and is never carried over. Each seed is a run of its own
with its own labelled subset; interrupted, the same command goes on.
"""

import dataclasses
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias

from torch import nn

from datamodules.sources.source import Source
from experiments.building import build_labeled, build_source
from experiments.building_networks import build_network
from experiments.commands import TrainCommand
from experiments.files import write_atomically, write_json
from experiments.network_settings import NetworkSettings
from experiments.run import Run, is_main_process
from experiments.stage import Record, Stage
from experiments.studies.reporting import markdown_table, mean_and_spread, percent_with_spread
from experiments.studies.settings import Mode, TransferRun, TransferStudy
from experiments.supervised import learn_supervised
from experiments.tasks import Task
from experiments.training import Fitting
from lightning_modules.networks.layers import find_head
from lightning_modules.settings import TransferSettings

PRETRAINING = "pretraining"
TransferMode: TypeAlias = Literal["full", "head", "last_stages", "discriminative", "gradual"]


def run(study: TransferStudy) -> dict[str, Any]:
    """Do a run for each seed, print one table, return what ``results.json`` holds."""
    source, target = build_source(study.pretraining.data), build_source(study.transfer.data)
    runs = [SeedOfTransfer(study.run_of(seed), study.modes, source, target).run() for seed in study.seeds]
    results = summarize(study, runs)
    if is_main_process():
        directory = Path(study.output) / study.name
        table = format_table(results)
        write_json(directory / "results.json", results)
        write_atomically(directory / "report.md", table)
        print(table)
    return results


class SeedOfTransfer:
    """The stages of one seed: the pretraining, then each mode, with the same images, steps and optimizer.

    Args:
        command: what the user set.
        modes: what is compared.
        source: the images of the pretraining.
        target: the images of the transfer.
    """

    def __init__(self, command: TransferRun, modes: list[Mode], source: Source, target: Source) -> None:
        self.command = command
        self.modes = modes
        self.source = source
        self.target = target
        self.pipeline = Run("transfer-study", command)
        self.fitting = Fitting(self.pipeline)

    def run(self) -> dict[str, Any]:
        """Do all stages, each unless it is done."""
        command = self.command
        first = {
            "seed": command.seed,
            "data": command.data,
            "images": self.source.fingerprint,
            "model": command.model,
            "optimizer": command.optimizer,
            "trainer": command.trainer,
        }
        self.pipeline.stage(PRETRAINING, self.pretrain, **first)
        for mode in self.modes:
            then = {"transfer": command.transfer, "target_images": self.target.fingerprint, "mode": mode}
            self.pipeline.stage(mode, partial(self.learn, mode), **first, **then)
        return self.pipeline.finish(self.source.num_skipped + self.target.num_skipped)

    def pretrain(self, stage: Stage) -> Record:
        """Train on the first classes."""
        model = with_mode(self.command.model, "full")
        return self._fit(stage, self.source, self.command, model)

    def learn(self, mode: Mode, stage: Stage) -> Record:
        """Train on the other classes, in one of the modes or from scratch."""
        phase = self.command.transfer
        command = dataclasses.replace(self.command, data=phase.data, optimizer=phase.optimizer, trainer=phase.trainer)
        if mode == "scratch":
            return self._fit(stage, self.target, command, with_mode(self.command.model, "full"))
        checkpoint = self.pipeline.directory / self.pipeline.records[PRETRAINING]["checkpoint"]
        model = with_mode(
            self.command.model,
            mode,
            checkpoint=str(checkpoint),
            pretrained=False,
            ignore_keys=[*self.command.model.ignore_keys, self._name_of_head()],
        )
        return self._fit(stage, self.target, command, model)

    def _name_of_head(self) -> str:
        network: Any = build_network(self.command.model, self.source, self.command.seed, option="model")
        return find_head(network.body, self.source.num_classes)

    def _fit(self, stage: Stage, source: Source, command: TrainCommand, model: NetworkSettings) -> Record:
        network: nn.Module = build_network(model, source, command.seed, option="model", say=self.pipeline.say)
        data = build_labeled(source, command)
        optimizer, trainer, task = command.optimizer, command.trainer, Task(source)
        return learn_supervised(stage, self.fitting, network, data, optimizer, trainer, task, model.transfer)


def with_mode(model: NetworkSettings, mode: TransferMode, **changes: Any) -> NetworkSettings:
    """Return the settings with a mode of transfer, whose own options stay, and with other changes."""
    transfer = model.transfer if model.transfer.mode == mode else TransferSettings(mode)
    settings: NetworkSettings = dataclasses.replace(model, transfer=transfer, **changes)
    return settings


def summarize(study: TransferStudy, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return test accuracies and seconds of every stage over the seeds."""
    stages = {}
    for name in (PRETRAINING, *study.modes):
        records = [results["stages"][name] for results in runs]
        accuracies = [record["metrics"]["test/accuracy"] for record in records]
        mean, spread = mean_and_spread(accuracies)
        stages[name] = {
            "test/accuracy": accuracies,
            "mean": mean,
            "standard_deviation": spread,
            "seconds": [record["seconds"] for record in records],
            "steps": records[0]["steps"],
        }
    first = runs[0]
    return {
        "study": "transfer",
        "name": study.name,
        "seeds": study.seeds,
        "network": study.model.name,
        "parameters": first["stages"][PRETRAINING]["parameters"],
        "labels_per_class": study.transfer.data.labels_per_class,
        "versions": first["versions"],
        "device": first["device"],
        "stages": stages,
    }


def format_table(results: dict[str, Any]) -> str:
    """Return one row a mode in Markdown, and what all rows have in common."""
    rows = [
        (name.replace("_", " "), f"{stage['steps']:,}", percent_with_spread(stage["test/accuracy"]), seconds(stage))
        for name, stage in results["stages"].items()
    ]
    labels = results["labels_per_class"]
    return (
        f"{results['network']}, {results['parameters']:,} parameters; pretraining on its own classes, all else on the "
        f"others with {labels or 'all'} labels a class; mean ± standard deviation of seeds "
        f"{', '.join(map(str, results['seeds']))}; {results['device']}, torch {results['versions']['torch']}\n\n"
        f"{markdown_table(('mode', 'steps', 'test accuracy, %', 'seconds'), rows)}\n"
    )


def seconds(stage: dict[str, Any]) -> str:
    """Return the mean seconds of a stage's training."""
    return f"{mean_and_spread(stage['seconds'])[0]:.1f}"
