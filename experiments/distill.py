"""Distillation: a teacher, a student alone, the same student distilled; what it gained."""

import dataclasses
from collections.abc import Callable
from typing import Any

from timm.models import get_pretrained_cfg
from torch import nn

from datamodules.sources.source import Source
from experiments.building import build_labeled, build_network, build_source, build_unlabeled
from experiments.commands import DistillCommand
from experiments.network_settings import TeacherSettings
from experiments.run import Run
from experiments.settings import TrainerSettings
from experiments.stage import Record, Stage
from experiments.tables import percent, print_table
from experiments.training import Fitting
from lightning_modules.checkpoints import load_network
from lightning_modules.classification import ClassificationModule
from lightning_modules.distillation import DistillationModule
from lightning_modules.networks.names import TIMM, resolve
from lightning_modules.networks.torchvision_networks import NUM_PUBLISHED_CLASSES
from lightning_modules.optimizers import create_optimizer, create_schedule
from lightning_modules.transfer import begin_transfer


def run(command: DistillCommand) -> dict[str, Any]:
    """Run the pipeline, print its table, return what ``results.json`` holds."""
    pipeline = Run("distill", command)
    results = Distillation(command, build_source(command.data), pipeline).run()
    if pipeline.is_main:
        print_table(results)
        print(describe_gain(results["stages"]))
    return results


class Distillation:
    """The stages, all on the same validation and test samples; the students' with as many steps.

    Args:
        command: what the user set.
        source: the images.
        pipeline: the run that the stages belong to.
    """

    def __init__(self, command: DistillCommand, source: Source, pipeline: Run) -> None:
        self.command = command
        self.source = source
        self.pipeline = pipeline
        self.fitting = Fitting(pipeline)
        self.labeled = build_labeled(source, command)
        self.data = self.labeled if self.labeled.pool is None else build_unlabeled(self.labeled, command.data)
        self._require_trainable_student()
        require_published_classes(command.teacher, source)

    def run(self) -> dict[str, Any]:
        """Do all stages, each unless it is done."""
        command, stage = self.command, self.pipeline.stage
        data = {
            "seed": command.seed,
            "data": command.data,
            "images": self.source.fingerprint,
            "trainer": command.trainer,
        }
        student = data | {"student": command.student, "optimizer": command.optimizer}
        distilled = student | {"teacher": command.teacher, "distillation": command.distillation}

        stage("teacher", self.teach, **data, teacher=command.teacher)
        stage("student_alone", self.learn_alone, **student)
        stage("student_distilled", self.learn_from_teacher, **distilled)
        if command.student_all_labels and self.labeled.pool is not None:
            stage("student_all_labels", self.learn_from_all_labels, **student)
        return self.pipeline.finish(self.source.num_skipped)

    def teach(self, stage: Stage) -> Record:
        """Train the teacher on all labels, or evaluate it as it comes."""
        teacher = self.command.teacher
        data = build_labeled(self.source, self.command, all_labels=True)
        module = ClassificationModule(
            self._teacher(), self.source.num_classes, optimizer=teacher.optimizer, transfer=teacher.transfer
        )
        if teacher.checkpoint is not None or not teacher.train:
            return self.fitting.evaluate(module, data, self.command.trainer, teacher.checkpoint)
        return self.fitting.fit(stage, module, data, self._teacher_trainer())

    def learn_alone(self, stage: Stage) -> Record:
        """Train the student on its labels."""
        return self._learn_supervised(stage, all_labels=False)

    def learn_from_all_labels(self, stage: Stage) -> Record:
        """Train the student on all labels."""
        return self._learn_supervised(stage, all_labels=True)

    def learn_from_teacher(self, stage: Stage) -> Record:
        """Train the student on its labels and on what the teacher says of all images."""
        module = DistillationModule(
            self._student(),
            self._trained_teacher(),
            self.source.num_classes,
            distillation=self.command.distillation,
            optimizer=self.command.optimizer,
            transfer=self.command.student.transfer,
        )
        return self.fitting.fit(stage, module, self.data, self.command.trainer)

    def _learn_supervised(self, stage: Stage, *, all_labels: bool) -> Record:
        steps = self.data.steps_per_epoch
        data = build_labeled(self.source, self.command, all_labels=all_labels, steps_per_epoch=steps)
        module = ClassificationModule(
            self._student(),
            self.source.num_classes,
            optimizer=self.command.optimizer,
            transfer=self.command.student.transfer,
        )
        return self.fitting.fit(stage, module, data, self.command.trainer)

    def _require_trainable_student(self) -> None:
        """Let a mistake in the student's settings show before the teacher trains."""
        network = self._student(self.pipeline.say)
        begin_transfer(network, self.command.student.transfer)
        optimizer = create_optimizer(network, self.command.optimizer, self.command.student.transfer)
        trainer = self.command.trainer
        num_steps = trainer.max_epochs * -(-self.data.steps_per_epoch // trainer.accumulate_grad_batches)
        create_schedule(optimizer, self.command.optimizer, num_steps)

    def _student(self, say: Callable[[str], None] = lambda note: None) -> nn.Module:
        return build_network(self.command.student, self.source, self.command.seed, option="student", say=say)

    def _teacher(self) -> nn.Module:
        return build_network(self.command.teacher, self.source, self.command.seed, option="teacher", exact=True)

    def _trained_teacher(self) -> nn.Module:
        checkpoint = self.pipeline.records["teacher"]["checkpoint"]
        if checkpoint is None:
            return self._teacher()
        return load_network(self.pipeline.directory / checkpoint)

    def _teacher_trainer(self) -> TrainerSettings:
        max_epochs = self.command.teacher.max_epochs
        return dataclasses.replace(self.command.trainer, max_epochs=max_epochs or self.command.trainer.max_epochs)


def require_published_classes(teacher: TeacherSettings, source: Source) -> None:
    """Raise a ``ValueError`` where a teacher that is not trained would have a random classifier.

    The published classifier is replaced, without a word, where another number of classes is asked for.
    """
    if teacher.train or teacher.checkpoint is not None:
        return
    origin, name = resolve(teacher.name)
    published = get_pretrained_cfg(name, allow_unregistered=True) if origin is TIMM else None
    num_classes = getattr(published, "num_classes", None) or NUM_PUBLISHED_CLASSES
    if num_classes != source.num_classes:
        raise ValueError(
            f"teacher.train: got False, but {teacher.name} was published for {num_classes} classes and "
            f"{source.name} has {source.num_classes}: its classifier would be random; use --teacher.train true"
        )


def describe_gain(stages: dict[str, Record]) -> str:
    """Return one sentence: what distillation gained on test, in points."""
    alone, distilled = (stages[name]["metrics"]["test/accuracy"] for name in ("student_alone", "student_distilled"))
    sentence = (
        f"Distillation gained {100 * (distilled - alone):+.2f} points on test "
        f"({percent(alone)} → {percent(distilled)}): the same network, labels and steps."
    )
    if "student_all_labels" in stages:
        everything = percent(stages["student_all_labels"]["metrics"]["test/accuracy"])
        sentence += f" With the labels of all training images the student alone reaches {everything}."
    return sentence
