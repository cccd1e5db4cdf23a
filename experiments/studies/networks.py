"""The networks of the field side by side: alone, taught by a fixed teacher, and teaching a fixed student.

All have one short schedule, so the table says that each of them trains, distils and is distilled, and what it costs; it
does not rank them, since each would have a schedule of its own. Interrupted, the same command goes on with the network
that it was at.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer
from lightning.pytorch.callbacks import Timer

from datamodules.sources.source import Source
from datamodules.splits import stratified_subset
from experiments.building import build_labeled, build_source
from experiments.building_networks import build_network, image_side
from experiments.callbacks import SeedEveryEpoch, StopOnSignals
from experiments.commands import Command
from experiments.files import write_atomically
from experiments.network_settings import NetworkSettings
from experiments.records import describe
from experiments.run import Run
from experiments.stage import Record, Stage
from experiments.studies.networks_table import format_table
from experiments.studies.settings import NetworksStudy
from experiments.supervised import teach, trained_teacher
from experiments.tasks import Task
from experiments.training import Fitting, quiet_lightning
from lightning_modules.classification import ClassificationModule
from lightning_modules.distillation import DistillationModule
from lightning_modules.networks import featured_networks
from lightning_modules.networks.featured import NEEDED_BY_STANDARD_STEM, NEEDED_INPUT
from lightning_modules.networks.names import resolve
from lightning_modules.student import StudentModule


def run(command: NetworksStudy) -> dict[str, Any]:
    """Do all networks that are not done, print the table, return what ``results.json`` holds.

    Raises:
        ValueError: a name is unknown.
        RuntimeError: some networks could not be trained; the others were, and stand in the table.
    """
    names = command.only or featured_networks()
    for name in names:
        resolve(name)
    if command.num_threads is not None:
        torch.set_num_threads(command.num_threads)
    study = StudyOfNetworks(command, fewer_tests(build_source(command.data), command.num_test))
    failures = study.run([str(name) for name in names])
    results = study.pipeline.finish(study.source.num_skipped)
    if study.pipeline.is_main:
        table = format_table(results, command, len(study.source.test))
        write_atomically(study.pipeline.directory / "report.md", table)
        print(table)
    if failures:
        raise RuntimeError(f"{', '.join(failures)} failed, see {study.file}; the same command tries again")
    return results


def fewer_tests(source: Source, num_test: int | None) -> Source:
    """Return the source with ``num_test`` of its test samples, stratified and the same whatever the seed."""
    if num_test is None or num_test >= len(source.test):
        return source
    chosen = stratified_subset(source.test.targets, source.test.ids, num_test, seed=0)
    return dataclasses.replace(source, test=source.test.select(chosen))


class StudyOfNetworks:
    """The teacher and the student first, then network after network, each written down as soon as it is done.

    Args:
        command: what the user set.
        source: the images.
    """

    def __init__(self, command: NetworksStudy, source: Source) -> None:
        self.command = command
        self.source = source
        self.pipeline = Run("networks-study", command)
        self.data = build_labeled(source, command)
        self.image_size = image_side(source)
        self.file = self.pipeline.directory / "networks.jsonl"

    def run(self, names: list[str]) -> list[str]:
        """Do what is not done, and return the names of the networks that failed."""
        if self.command.distill:
            self._prepare()
        done = read_lines(self.file)
        failures = []
        for name in names:
            if "metrics" not in done.get(name, {}):
                done[name] = self._attempt(name)
                write_lines(self.file, done)
                self.pipeline.say(f"{name}: {done[name].get('error') or done[name]['metrics']}")
            if "metrics" in done[name]:
                self.pipeline.records[name] = done[name]
            else:
                failures.append(name)
        return failures

    def _prepare(self) -> None:
        command = self.command
        settings = {
            "seed": command.seed,
            "data": command.data,
            "images": self.source.fingerprint,
            "trainer": command.trainer,
            "teacher": command.teacher,
        }
        self.pipeline.stage("teacher", self.teach, **settings)
        settings |= {"student": command.student, "optimizer": command.optimizer, "distillation": command.distillation}
        self.pipeline.stage("student_alone", self.learn_alone, **settings)
        self.teacher = trained_teacher(self.pipeline, "teacher", command.teacher, self.source)

    def teach(self, stage: Stage) -> Record:
        """Train the teacher, or evaluate it as it comes."""
        task = Task(self.source)
        return teach(stage, Fitting(self.pipeline), self.command.teacher, self.data, self.command.trainer, task)

    def learn_alone(self, stage: Stage) -> Record:
        """Train the student without a teacher, as every network is trained."""
        return self._fit(self._alone(self.command.student, self._build(self.command.student)))

    def _attempt(self, name: str) -> Record:
        try:
            return self.measure(name)
        except Exception as error:  # one network's failure must not cost the others their table
            return {"error": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"}

    def measure(self, name: str) -> Record:
        """Train a network alone, distil it from the teacher, distil the student from it; return what came of it."""
        needed = NEEDED_INPUT.get(name, 0)
        if self.command.stem == "standard":
            needed = max(needed, NEEDED_BY_STANDARD_STEM.get(name, 0))
        input_size = needed if self.image_size is not None and self.image_size < needed else None
        settings = NetworkSettings(network=name, input_size=input_size, stem=self.command.stem)
        network = self._build(settings)
        record = self._fit(self._alone(settings, network))
        if self.command.distill:
            self._distill(record, "of_student", self.command.student, teacher=network)
            self._distill(record, "distilled", settings, teacher=self.teacher)
        return record | {"input_size": input_size or self.image_size}

    def _distill(self, record: Record, kind: str, settings: NetworkSettings, teacher: torch.nn.Module) -> None:
        other = self._fit(self._distilled(settings, teacher))
        record["metrics"][f"test/accuracy_{kind}"] = other["metrics"]["test/accuracy"]
        record[f"seconds_{kind}"] = other["seconds"]

    def _build(self, settings: NetworkSettings) -> torch.nn.Module:
        return build_network(settings, self.source, self.command.seed, option="network")

    def _alone(self, settings: NetworkSettings, network: torch.nn.Module) -> ClassificationModule:
        return ClassificationModule(
            network, self.source.num_classes, optimizer=self.command.optimizer, transfer=settings.transfer
        )

    def _distilled(self, settings: NetworkSettings, teacher: torch.nn.Module) -> DistillationModule:
        return DistillationModule(
            self._build(settings),
            teacher,
            self.source.num_classes,
            distillation=self.command.distillation,
            optimizer=self.command.optimizer,
            transfer=settings.transfer,
        )

    def _fit(self, module: StudentModule) -> Record:
        """Train without validation and checkpoints, and test what the last step left."""
        timer = Timer()
        trainer = create_plain_trainer(self.command, timer)
        trainer.fit(module, datamodule=self.data)
        (metrics,) = trainer.test(module, datamodule=self.data, verbose=False)
        record = describe(module, trainer, {name: float(value) for name, value in metrics.items()}, self.data)
        return record | {
            "seconds": round(timer.time_elapsed("train"), 2),
            "steps": trainer.global_step,
            "checkpoint": None,
        }


def create_plain_trainer(command: Command, timer: Timer) -> Trainer:
    """Return Lightning's Trainer with the user's settings, without logs, validation and checkpoints."""
    quiet_lightning()
    return Trainer(
        **dataclasses.asdict(command.trainer),
        callbacks=[timer, StopOnSignals(), SeedEveryEpoch(command.seed)],
        limit_val_batches=0,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )


def read_lines(file: Path) -> dict[str, Record]:
    """Return the records that were written, by network."""
    lines = file.read_text().splitlines() if file.is_file() else []
    records = [json.loads(line) for line in lines]
    return {record.pop("network"): record for record in records}


def write_lines(file: Path, records: dict[str, Record]) -> None:
    """Write a JSON line a network."""
    write_atomically(file, "".join(json.dumps({"network": name, **record}) + "\n" for name, record in records.items()))
