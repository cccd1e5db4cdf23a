"""Distillation: a teacher, a student alone, the same student distilled; what it gained."""

from collections.abc import Callable
from typing import Any

from torch import nn

from datamodules.pseudo_labeled import PseudoLabeledDataModule
from datamodules.sources.source import Source
from experiments.building import build_labeled, build_source, build_unlabeled, has_masks
from experiments.building_networks import build_network
from experiments.commands import DistillCommand
from experiments.files import as_path, file_digest
from experiments.labelling import build_pseudo_labeled
from experiments.run import Run
from experiments.stage import Record, Stage
from experiments.supervised import learn_supervised, require_published_classes, teach, teacher_settings, trained_teacher
from experiments.tables import MEASURES, percent, print_table
from experiments.tasks import Task
from experiments.tracking import model_artifact
from experiments.training import Fitting
from lightning_modules.distillation import DistillationModule
from lightning_modules.noisy_student import NoisyStudentModule
from lightning_modules.optimizers import create_optimizer, create_schedule
from lightning_modules.transfer import begin_transfer


def run(command: DistillCommand) -> dict[str, Any]:
    """Run the pipeline, print its table, return what ``results.json`` holds."""
    pipeline = Run("distill", command)
    distillation = Distillation(command, build_source(command.data), pipeline)
    results = distillation.run()
    if pipeline.is_main:
        print_table(results)
        print(describe_gain(results["stages"], distillation.task.measure))
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
        self.task = Task(source, mask_loss=command.mask_loss)
        self.labeled = build_labeled(source, command)
        self.data = self.labeled if self.labeled.pool is None else build_unlabeled(self.labeled, command.data)
        self._require_trainable_student()
        if command.distillation.labels == "channel_wise" and not has_masks(source):
            raise ValueError(
                f"distillation.labels: got 'channel_wise', expected 'soft' or 'hard': {source.name} has no masks, of "
                "which channel-wise distillation compares the pixels"
            )
        if command.table is None:
            require_published_classes(command.teacher, source)
        else:
            self.taught = self._taught(command.table)  # so a table that does not fit shows before anything trains

    def run(self) -> dict[str, Any]:
        """Do all stages, each unless it is done."""
        command, stage = self.command, self.pipeline.stage
        data = {
            "seed": command.seed,
            "data": command.data,
            "images": self.source.fingerprint,
            "trainer": command.trainer,
            **self.task.settings,
        }
        student = data | {"student": command.student, "optimizer": command.optimizer}
        if command.table is None:
            stage("teacher", self.teach, **data, **teacher_settings(command.teacher))
        stage("student_alone", self.learn_alone, **student)
        if command.table is None:
            taught_by = teacher_settings(command.teacher)
            stage(
                "student_distilled", self.learn_from_teacher, **student, **taught_by, distillation=command.distillation
            )
        else:
            path = as_path(command.table)
            taught_by = {"table": file_digest(path), "pseudo_labels": command.pseudo_labels}
            stage("student_distilled", self.learn_from_table, **student, **taught_by)
        if command.student_all_labels and self.labeled.pool is not None:
            stage("student_all_labels", self.learn_from_all_labels, **student)
        return self.pipeline.finish(self.source.num_skipped)

    def teach(self, stage: Stage) -> Record:
        """Train the teacher on all labels, or evaluate it as it comes."""
        data = build_labeled(self.source, self.command, all_labels=True)
        return teach(stage, self.fitting, self.command.teacher, data, self.command.trainer, self.task)

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
            trained_teacher(self.pipeline, "teacher", self.command.teacher, self.source),
            self.source.num_classes,
            distillation=self.command.distillation,
            optimizer=self.command.optimizer,
            transfer=self.command.student.transfer,
            **self.task.of_students(),
        )
        uses = f"{model_artifact(self.pipeline.name, 'teacher')}:best"
        is_ours = self.pipeline.records["teacher"]["checkpoint"] is not None
        return self.fitting.fit(stage, module, self.data, self.command.trainer, uses=uses if is_ours else None)

    def _taught(self, table: str) -> PseudoLabeledDataModule:
        labels, steps = self.command.pseudo_labels, self.data.steps_per_epoch
        return build_pseudo_labeled(self.labeled, as_path(table), labels, steps_per_epoch=steps)

    def learn_from_table(self, stage: Stage) -> Record:
        """Train the student on its labels and on what a table says of the other images."""
        command = self.command
        module = NoisyStudentModule(
            self._student(),
            self.source.num_classes,
            pseudo_labels=command.pseudo_labels,
            optimizer=command.optimizer,
            transfer=command.student.transfer,
            **self.task.of_students(),
        )
        return self.fitting.fit(stage, module, self.taught, command.trainer)

    def _learn_supervised(self, stage: Stage, *, all_labels: bool) -> Record:
        steps = self.data.steps_per_epoch
        data = build_labeled(self.source, self.command, all_labels=all_labels, steps_per_epoch=steps)
        optimizer, trainer = self.command.optimizer, self.command.trainer
        transfer = self.command.student.transfer
        return learn_supervised(stage, self.fitting, self._student(), data, optimizer, trainer, self.task, transfer)

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


def describe_gain(stages: dict[str, Record], measure: str) -> str:
    """Return one sentence: what distillation gained on test, in points of ``accuracy`` or ``mean_iou``."""
    reached = {name: record["metrics"][f"test/{measure}"] for name, record in stages.items()}
    alone, distilled = reached["student_alone"], reached["student_distilled"]
    sentence = (
        f"Distillation gained {100 * (distilled - alone):+.2f} points of {MEASURES[measure][0]} on test "
        f"({percent(alone)} → {percent(distilled)}): the same network, labels and steps."
    )
    if "student_all_labels" in stages:
        everything = percent(reached["student_all_labels"])
        sentence += f" With the labels of all training images the student alone reaches {everything}."
    return sentence
