"""Self-training: a teacher labels the pool, a noised student learns from it and becomes the next teacher."""

import time
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from datamodules.alignment import count_labels
from datamodules.pseudo_labeled import PseudoLabeledDataModule, pool_of
from datamodules.pseudo_labels import PseudoLabels
from datamodules.sources.source import Source
from experiments.audit_plots import draw_audit
from experiments.building import build_labeled, build_mixing, build_source, build_view
from experiments.building_networks import build_network
from experiments.conclusion import Conclusion
from experiments.files import file_digest
from experiments.guard import MOST_REJECTED, describe_verdict, judge
from experiments.labelling import audit_table, build_pseudo_labeled, label_pool
from experiments.pseudo_label_settings import PseudoLabelSettings
from experiments.round_checks import have_same_shape, require_trainable
from experiments.rounds import RoundSettings, next_larger, resolve_rounds
from experiments.run import Run
from experiments.self_train_settings import SelfTrainCommand
from experiments.stage import Record, Stage
from experiments.supervised import averaging, teach, teacher_settings, trained_teacher, with_epochs
from experiments.tables import print_table
from experiments.tasks import Task
from experiments.tracking import model_artifact, table_artifact
from experiments.training import Fitting
from lightning_modules.networks import count_parameters
from lightning_modules.networks.description import describe_network
from lightning_modules.networks.featured import FEATURED
from lightning_modules.noisy_student import NoisyStudentModule


def run(command: SelfTrainCommand) -> dict[str, Any]:
    """Run the loop, print its table, return what ``results.json`` holds."""
    pipeline = Run("self-train", command)
    results = SelfTraining(command, build_source(command.data), pipeline).run()
    if pipeline.is_main:
        print_table(results)
        print(results["summary"]["sentence"])
    return results


class SelfTraining:
    """The stages of the loop (Xie et al. 2020), all on the same validation and test samples.

    Args:
        command: what the user set.
        source: the images.
        pipeline: the run that the stages belong to.

    Attributes:
        teacher: name of the stage whose network teaches next.
    """

    def __init__(self, command: SelfTrainCommand, source: Source, pipeline: Run) -> None:
        self.command = command
        self.source = source
        self.pipeline = pipeline
        self.fitting = Fitting(pipeline)
        self.task = Task(source, mask_loss=command.mask_loss)
        self.labeled = build_labeled(source, command)
        self.pool = pool_of(self.labeled)
        self.rounds = resolve_rounds(
            command.round,
            command.num_rounds,
            students=command.students,
            growth=command.growth,
            overrides=command.rounds,
            grow=partial(larger_network, source=source),
        )
        require_trainable(command, self.rounds, source)
        if any(settings.pseudo_labels.align for settings in self.rounds):
            count_labels(self.labeled)  # refuses a class without labelled images
        self.settings = {
            "seed": command.seed,
            "data": command.data,
            "images": source.fingerprint,
            "trainer": command.trainer,
            **self.task.settings,
        }
        self.teacher = "round_0"

    def run(self) -> dict[str, Any]:
        """Do all stages, each unless it is done."""
        command = self.command
        self.pipeline.stage("round_0", self.teach, **self.settings, **teacher_settings(command.teacher))
        rejected, last = 0, self.rounds[0]
        for number, last in enumerate(self.rounds, start=1):
            rejected += not self.do_round(number, last)
            if rejected == MOST_REJECTED:
                self.pipeline.say(f"{rejected} students were worse than their teachers: the loop ends here")
                break
        conclusion = Conclusion(self.fitting, command, self.task, self.labeled, self.settings, self.trained)
        summary = conclusion.run(self.teacher, last)
        return self.pipeline.finish(self.source.num_skipped, summary=summary)

    def teach(self, stage: Stage) -> Record:
        """Train the first teacher, or evaluate it as it comes."""
        command = self.command
        return teach(stage, self.fitting, command.teacher, self.labeled, command.trainer, self.task)

    def do_round(self, number: int, settings: RoundSettings) -> bool:
        """Label the pool and teach a student; return whether it becomes the next teacher."""
        name = f"round_{number}"
        own = self.settings | {"taught_by": self.teacher}
        labels = partial(self.label, number=number, settings=settings.pseudo_labels)
        self.pipeline.stage(f"{name}_labels", labels, **own, pseudo_labels=settings.pseudo_labels)
        student = partial(self.learn, number=number, settings=settings)
        record = self.pipeline.stage(name, student, **own, round=settings, guard=self.command.guard)
        accepted: bool = record["guard"]["accepted"]
        self.pipeline.say(describe_verdict(name, record["guard"], self.teacher))
        if accepted:
            self.teacher = name
        return accepted

    def label(self, stage: Stage, number: int, settings: PseudoLabelSettings) -> Record:
        """Label the pool; compare the labels with the hidden truth, which goes into this record and nowhere else."""
        start = time.perf_counter()
        teacher, trainer = self.trained(self.teacher), self.command.trainer
        may_skip = self.command.data.on_bad_image == "skip"
        table = label_pool(teacher, self.labeled, self._table(number), settings, trainer, may_skip=may_skip)
        seconds = time.perf_counter() - start
        previous = PseudoLabels.read(self.finished_table(number - 1)) if number > 1 else None
        numbers = audit_table(table, self.labeled, settings, previous)
        path = stage.relative(self._table(number))
        known = numbers | {"teacher": table.metadata.teacher, "confidence_threshold": settings.confidence_threshold}
        picture = self.draw(number, numbers)
        taught_by = f"{model_artifact(self.pipeline.name, self.teacher)}:best"
        self.fitting.tracking(stage).log_table(self._table(number), known, f"round-{number}", picture, taught_by)
        return {
            "seconds": round(seconds, 2),
            "teacher": table.metadata.teacher,
            "table_digest": file_digest(self._table(number)),
            "pseudo_labels": {"table": path} | numbers,
        }

    def learn(self, stage: Stage, number: int, settings: RoundSettings) -> Record:
        """Teach a student, and compare it with its teacher on validation."""
        labels = self.pipeline.records[f"round_{number}_labels"]
        data = self.pseudo_labeled(number, settings, labels["teacher"])
        network = self._student(number, settings)
        module = NoisyStudentModule(
            network,
            data.num_classes,
            pseudo_labels=settings.pseudo_labels,
            optimizer=settings.optimizer,
            transfer=settings.student.transfer,
            **self.task.of_students(),
        )
        trainer = with_epochs(self.command.trainer, settings.max_epochs)
        callbacks = averaging(settings.ema_decay)
        uses = f"{table_artifact(self.pipeline.name, f'round_{number}_labels')}:latest"
        record = self.fitting.fit(stage, module, data, trainer, callbacks, uses)
        verdict = judge(
            module.network,
            self.trained(self.teacher),
            self.labeled.validation,
            self.fitting.device(trainer),
            self.command.guard,
            batch_size=self.labeled.eval_batch_size,
            is_unseen="val/loss" in self.pipeline.records[self.teacher]["metrics"],
        )
        return record | {
            "batches_per_epoch": data.steps_per_epoch,
            "pseudo_labels": labels["pseudo_labels"],
            "guard": verdict | {"teacher": self.teacher},
        }

    def pseudo_labeled(self, number: int, settings: RoundSettings, teacher_digest: str) -> PseudoLabeledDataModule:
        """Return the labelled and the pseudo-labelled stream of a round."""
        return build_pseudo_labeled(
            build_labeled(self.source, self.command, augmentation=settings.labeled_noise),
            self.finished_table(number),
            settings.pseudo_labels,
            view=build_view(settings.noise, self.command.seed, self.source),
            mixing=build_mixing(settings.noise, self.source, self.command.seed),
            steps_per_epoch=settings.steps_per_epoch or self.command.data.steps_per_epoch,
            teacher_digest=teacher_digest,
        )

    def _student(self, number: int, settings: RoundSettings) -> nn.Module:
        network = build_network(settings.student, self.source, self.command.seed, option="round.student")
        taught_by = self.trained(self.teacher)
        if settings.initialize == "previous" and have_same_shape(network, taught_by):
            network.load_state_dict(taught_by.state_dict())
        elif settings.initialize == "previous":
            self.pipeline.say(
                f"the student of round {number} starts afresh: its teacher is {self.teacher}, another network"
            )
        student, teacher = count_parameters(network), count_parameters(taught_by)
        if student < teacher:
            self.pipeline.say(
                f"warning: the student of round {number} is smaller than its teacher ({student:,} and {teacher:,} "
                "parameters): under noise it may not hold what the teacher knows (Xie et al. 2020, section 4.3); see "
                "--students and --growth, or distil"
            )
        return network

    def trained(self, stage: str) -> nn.Module:
        """Return the network that a finished stage ended with."""
        return trained_teacher(self.pipeline, stage, self.command.teacher, self.source)

    def finished_table(self, number: int) -> Path:
        """Return the table of a round whose labels are done.

        Raises:
            ValueError: it is gone, or another one is in its place.
        """
        path, name = self._table(number), f"round_{number}_labels"
        expected = self.pipeline.records[name]["table_digest"]
        found = file_digest(path) if path.is_file() else "missing"
        if found != expected:
            stage = self.pipeline.directory / "stages" / f"{list(self.pipeline.records).index(name)}-{name}"
            raise ValueError(
                f"{path}: got {found[:12]}, expected the table that {name} wrote, with the SHA-256 {expected[:12]}; "
                f"put it back, or delete {stage} to label the pool again"
            )
        return path

    def _table(self, number: int) -> Path:
        return self.pipeline.directory / "pseudo_labels" / f"round_{number}.parquet"

    def draw(self, number: int, numbers: dict[str, Any]) -> Path:
        """Draw what the audits of all rounds say, up to the last, whose numbers are given; return the picture."""
        picture = self.pipeline.directory / "pseudo_labels.png"
        if self.pipeline.is_main:
            before = [self.pipeline.records[f"round_{earlier}_labels"] for earlier in range(1, number)]
            draw_audit(picture, [*(record["pseudo_labels"] for record in before), numbers], self.source.class_names)
        return picture


def larger_network(name: str, max_parameters: int, source: Source) -> str:
    """Return the next larger network of a family for the source's images, within a number of parameters."""
    family = next((names for names in FEATURED.values() if name in names), ())
    describe = partial(describe_network, num_classes=source.num_classes, num_channels=source.num_channels)
    sizes = {member: describe(member).parameters for member in family}
    return next_larger(name, max_parameters, dict.fromkeys(family, sizes))
