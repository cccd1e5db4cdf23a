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
from experiments.supervised import learn_supervised, with_epochs
from experiments.tables import MEASURES, percent
from experiments.tasks import Task
from experiments.training import Fitting


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
        pseudo-labelled ones: whichever is better on validation is the baseline. Where the truth of the pool is known,
        ``supervised_all_labels`` says what all labels are worth.
        """
        views = {"supervised": last.labeled_noise, "supervised_noised": last.noise}
        for name, augmentation in views.items():
            self._supervise(name, last, augmentation, all_labels=False)
        subset = labeled_subset(self.command.data, self.labeled.source, all_labels=False)
        if any(value is not None for value in subset.values()):
            self._supervise("supervised_all_labels", last, last.labeled_noise, all_labels=True)
        return list(views)

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

    def _supervise(
        self, name: str, last: RoundSettings, augmentation: AugmentationSettings, *, all_labels: bool
    ) -> None:
        round_record = next(r for n, r in reversed(self.pipeline.records.items()) if "batches_per_epoch" in r)
        work = partial(
            self._learn,
            last=last,
            augmentation=augmentation,
            all_labels=all_labels,
            steps_per_epoch=round_record["batches_per_epoch"],
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
