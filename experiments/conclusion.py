"""How a self-training loop ends: finetuning, fair baselines, and what was gained."""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from datamodules.labeled import LabeledDataModule
from experiments.building import build_labeled, labeled_subset
from experiments.building_networks import build_network
from experiments.guard import compare_networks, describe_verdict, judge
from experiments.rounds import RoundSettings
from experiments.self_train_settings import SelfTrainCommand
from experiments.settings import AugmentationSettings
from experiments.stage import Record, Stage
from experiments.supervised import build_teacher, learn_supervised, with_epochs
from experiments.tables import MEASURES, percent
from experiments.tasks import Task
from experiments.training import Fitting
from lightning_modules.teacher import state_digest


class Conclusion:
    """The stages after the last round.

    Args:
        fitting: fits the stages.
        command: what the user set.
        task: what is measured and minimised.
        labeled: the labelled data, whose test samples decide what was gained.
        settings: what every stage depends on.
        trained: returns the network that a finished stage ended with.
    """

    def __init__(
        self,
        fitting: Fitting,
        command: SelfTrainCommand,
        task: Task,
        labeled: LabeledDataModule,
        settings: dict[str, Any],
        trained: Callable[[str], nn.Module],
    ) -> None:
        self.fitting = fitting
        self.pipeline = fitting.run
        self.command = command
        self.task = task
        self.labeled = labeled
        self.settings = settings
        self.trained = trained

    def run(self, final: str, last: RoundSettings) -> dict[str, Any]:
        """Finetune, train the baselines, and return a summary.

        Args:
            final: the stage of the last student that was accepted.
            last: the settings of the last round, whose network and steps the baselines have.
        """
        if self.command.finetune.max_epochs:
            work = partial(self.finetune, start=final)
            record = self.pipeline.stage(
                "finetuned", work, **self.settings, start=final, finetune=self.command.finetune
            )
            self.pipeline.say(describe_verdict("finetuned", record["guard"], final))
            final = "finetuned" if record["guard"]["accepted"] else final
        if not self.command.baselines:
            return {"final": final, "sentence": f"Self-training ended with {final}."}
        return self.compare(final, self.train_baselines(last))

    def finetune(self, stage: Stage, start: str) -> Record:
        """Train the last student on clean labelled images alone."""
        settings = self.command.finetune
        data = build_labeled(self.labeled.source, self.command, augmentation=AugmentationSettings(policy="none"))
        trainer = with_epochs(self.command.trainer, settings.max_epochs)
        network = self.trained(start)
        record = learn_supervised(stage, self.fitting, network, data, settings.optimizer, trainer, self.task)
        verdict = judge(
            network,
            self.trained(start),
            self.labeled.validation,
            self.fitting.device(trainer),
            self.command.guard,
            batch_size=self.labeled.eval_batch_size,
            is_unseen="val/loss" in self.pipeline.records[start]["metrics"],
        )
        return record | {"guard": verdict | {"teacher": start}}

    def train_baselines(self, last: RoundSettings) -> list[str]:
        """Train the last round's network with as many steps on true labels alone; return the stages' names.

        ``supervised`` has the views of the student's labelled images, ``supervised_noised`` those of its
        pseudo-labelled ones: whichever is better on validation is the baseline. Where the first teacher was trained in
        just that way, it is that baseline, and not trained again. Where the truth of the pool is known,
        ``supervised_all_labels`` says what all labels are worth.
        """
        views = {"supervised": last.labeled_noise, "supervised_noised": last.noise}
        names = []
        for name, augmentation in views.items():
            is_there = self._is_first_teacher(last, augmentation)
            if not is_there:
                self._supervise(name, last, augmentation, all_labels=False)
            names.append("round_0" if is_there else name)
        subset = labeled_subset(self.command.data, self.labeled.source, all_labels=False)
        if any(value is not None for value in subset.values()):
            self._supervise("supervised_all_labels", last, last.labeled_noise, all_labels=True)
        return names

    def compare(self, final: str, baselines: list[str]) -> dict[str, Any]:
        """Return what self-training gained on test over the better baseline."""
        records = self.pipeline.records
        measure = self.task.measure
        best = max(baselines, key=lambda name: records[name]["metrics"][f"val/{measure}"])
        device = self.fitting.device(self.command.trainer)
        labeled = self.labeled
        gain = compare_networks(self.trained(final), self.trained(best), labeled.test, device, labeled.eval_batch_size)
        before, after = (percent(records[name]["metrics"][f"test/{measure}"]) for name in (best, final))
        sentence = (
            f"Self-training gained {100 * gain['difference']:+.2f} points of {MEASURES[measure][0]} on test "
            f"({before} → {after}; 95 % interval over the test images {100 * gain['low']:+.2f} to "
            f"{100 * gain['high']:+.2f}) over {best}: the last round's network and number of steps, on the same labels."
        )
        return {"final": final, "baseline": best, **gain, "sentence": sentence}

    def _is_first_teacher(self, last: RoundSettings, augmentation: AugmentationSettings) -> bool:
        """Return whether a baseline with these views would end bit for bit as the first teacher did."""
        command, teacher = self.command, self.command.teacher
        if teacher.checkpoint is not None or not teacher.train:
            return False
        first = teacher.optimizer, teacher.ema_decay, teacher.transfer, command.data.augmentation
        if first != (last.optimizer, last.ema_decay, last.student.transfer, augmentation):
            return False
        epochs = with_epochs(command.trainer, last.max_epochs).max_epochs
        if with_epochs(command.trainer, teacher.max_epochs).max_epochs != epochs:
            return False
        if self.labeled.steps_per_epoch != self._steps_per_epoch:
            return False
        source, seed = self.labeled.source, command.seed
        networks = (
            build_teacher(teacher, source, seed),
            build_network(last.student, source, seed, option="round.student"),
        )
        as_built, weights = {repr(network) for network in networks}, {state_digest(network) for network in networks}
        return len(as_built) == len(weights) == 1

    @property
    def _steps_per_epoch(self) -> int:
        """Training batches of an epoch of the last round."""
        records = reversed(self.pipeline.records.values())
        return next(int(record["batches_per_epoch"]) for record in records if "batches_per_epoch" in record)

    def _supervise(
        self, name: str, last: RoundSettings, augmentation: AugmentationSettings, *, all_labels: bool
    ) -> None:
        work = partial(
            self._learn,
            last=last,
            augmentation=augmentation,
            all_labels=all_labels,
            steps_per_epoch=self._steps_per_epoch,
        )
        self.pipeline.stage(name, work, **self.settings, round=last)

    def _learn(
        self,
        stage: Stage,
        last: RoundSettings,
        augmentation: AugmentationSettings,
        all_labels: bool,
        steps_per_epoch: int,
    ) -> Record:
        source = self.labeled.source
        data = build_labeled(
            source, self.command, all_labels=all_labels, steps_per_epoch=steps_per_epoch, augmentation=augmentation
        )
        network = build_network(last.student, source, self.command.seed, option="round.student")
        trainer = with_epochs(self.command.trainer, last.max_epochs)
        optimizer, transfer, task = last.optimizer, last.student.transfer, self.task
        return learn_supervised(stage, self.fitting, network, data, optimizer, trainer, task, transfer, last.ema_decay)
