"""Short runs of the students of ``distill``: the same modules, data and trainer, fewer steps."""

import copy
import dataclasses
import statistics
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, Timer

from experiments.callbacks import LastCheckpoint, SeedEveryEpoch, StopOnSignals
from experiments.commands import DistillCommand
from experiments.distill import Distillation
from experiments.settings import TrainerSettings
from experiments.stage import Record, Stage
from experiments.training import Data, Fitting, create_trainer
from lightning_modules.student import NonFiniteLossError, StudentModule

STUDENTS = {"student_alone": "learn_alone", "student_distilled": "learn_from_teacher"}
"""The stages of ``distill`` that are run, and the methods that do them."""
NUM_WARM_UP = 3
"""Batches at the start that take longer than those after them."""
SHORTEST_PILOT = 0.001
NUM_PILOT = 30
"""Batches from whose times the length of the short runs is planned, if they fit in ``PILOT_SHARE``."""
PILOT_SHARE = 0.05
RUN_SHARE = 0.7
"""Shares of the time left: for the pilot of one student, and for both short runs, which may be slower than it."""


class BatchTimes(Callback):
    """Notes when each training batch ended, and the fit."""

    def __init__(self) -> None:
        self.ends: list[float] = []
        self.finished = 0.0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note the time."""
        self.ends.append(time.perf_counter())

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Likewise."""
        self.finished = time.perf_counter()

    def seconds(self) -> list[float]:
        """Return how long each batch took from the end of the one before it, without those of the warm-up."""
        first = min(NUM_WARM_UP, len(self.ends) - 2)
        return [end - start for start, end in zip(self.ends[first:], self.ends[first + 1 :], strict=False)]


@dataclasses.dataclass(frozen=True)
class ShortFitting(Fitting):
    """Fits as ``Fitting`` does, and stops when time is up; nothing is evaluated, logged or kept but the network.

    Attributes:
        run: as ``Fitting`` has it.
        seconds: how long a fit may take.
    """

    seconds: float

    def fit(
        self,
        stage: Stage,
        module: StudentModule,
        data: Data,
        settings: TrainerSettings,
        callbacks: Sequence[Callback] = (),
        uses: str | None = None,
    ) -> Record:
        """Fit ``module``; return its network, the batches that were trained, and their times."""
        timer = Timer(timedelta(seconds=max(0.0, self.seconds)), verbose=False)
        times = BatchTimes()
        with TemporaryDirectory() as folder:
            every_fit = [timer, times, StopOnSignals(), SeedEveryEpoch(self.run.settings.seed)]
            last = LastCheckpoint(Path(folder))
            trainer = create_trainer(settings, [*every_fit, last, *callbacks], False, Path(folder))
            trainer.limit_val_batches = 0
            trainer.fit(module, datamodule=data)
            written = list(Path(folder).glob("*.ckpt"))
            return {
                "network": module.network,
                "batches": len(times.ends),
                "is_whole": len(times.ends) == settings.max_epochs * data.steps_per_epoch,
                "batch_seconds": times.seconds() if len(times.ends) > 1 else [timer.time_elapsed("train")],
                "epoch_end_seconds": times.finished - times.ends[-1] if times.ends else 0.0,
                "checkpoint_bytes": sum(path.stat().st_size for path in written),
            }


def run_short(whole: Distillation, student: str, num_batches: int, seconds: float) -> Record:
    """Train a student of ``distill`` on so many batches; return what ``ShortFitting.fit`` does.

    Args:
        whole: the pipeline as it would be run.
        student: the name of its stage.
        num_batches: of the short run.
        seconds: when it is stopped.
    """
    quiet = copy.copy(whole.pipeline)
    quiet.is_main = False  # what there is to say was said when the whole run was checked
    quiet.records = {"teacher": {"checkpoint": None}}  # as ``distill`` has it of one that it did not train
    command = shortened(whole.command, whole.data.steps_per_epoch, num_batches)
    distillation = Distillation(command, whole.source, quiet)
    distillation.fitting = ShortFitting(quiet, seconds)
    record: Record = getattr(distillation, STUDENTS[student])(Stage(student, quiet.directory, 0, {}, False))
    return record


def shortened(command: DistillCommand, batches_per_epoch: int, num_batches: int) -> DistillCommand:
    """Return the settings of a run of ``num_batches`` batches, with schedules and warm-up compressed to it.

    It is one epoch, except where layers are unfrozen epoch by epoch: then as many as there are, if batches suffice.

    Args:
        command: the settings of the whole run.
        batches_per_epoch: of the whole run.
        num_batches: of the short one; a few are left out where they do not fill the epochs.
    """
    trainer, every = command.trainer, command.trainer.accumulate_grad_batches
    is_gradual = command.student.transfer.mode == "gradual"
    epochs = min(trainer.max_epochs, max(1, num_batches // every)) if is_gradual else 1
    each = num_batches // epochs
    steps_of_all = trainer.max_epochs * -(-batches_per_epoch // every)
    warmup_steps = command.optimizer.warmup_steps * epochs * -(-each // every) // steps_of_all
    return dataclasses.replace(
        command,
        data=dataclasses.replace(command.data, steps_per_epoch=each),
        optimizer=dataclasses.replace(command.optimizer, warmup_steps=warmup_steps),
        trainer=dataclasses.replace(
            trainer, max_epochs=epochs, check_val_every_n_epoch=1, enable_progress_bar=False, profiler=None
        ),
    )


@dataclasses.dataclass(frozen=True)
class ShortRuns:
    """What became of both students.

    Attributes:
        pilots: what ``run_short`` returned of a few batches of each, from which the length was planned.
        runs: of the short runs; ``None`` where one of them did not come to its end.
        reason: why there are none.
    """

    pilots: dict[str, Record]
    runs: dict[str, Record] | None
    reason: str | None = None


def run_students(whole: Distillation, deadline: float, reserve: float) -> ShortRuns:
    """Train both students on as many batches as the time allows, the whole run's at most.

    Args:
        whole: the pipeline as it would be run.
        deadline: of ``time.perf_counter``.
        reserve: seconds before it that are needed afterwards.
    """
    pilots: dict[str, Record] = {}
    every = whole.command.trainer.accumulate_grad_batches
    try:
        for student in STUDENTS:
            seconds = PILOT_SHARE * (deadline - time.perf_counter())
            if seconds < SHORTEST_PILOT:
                return ShortRuns(pilots, None, "measuring the networks took all the time; give more --seconds.")
            pilots[student] = run_short(whole, student, min(NUM_PILOT, total_batches(whole)), seconds)
        a_pair = sum(statistics.fmean(pilot["batch_seconds"]) for pilot in pilots.values())
        left = deadline - time.perf_counter() - reserve
        number = min(total_batches(whole), int(RUN_SHARE * left / a_pair))
        if number < every:
            reason = f"a step of both students takes about {every * a_pair:.3g} s, and {max(0, left):.3g} s were left"
            return ShortRuns(pilots, None, f"{reason}; give more --seconds.")
        return run_pair(whole, pilots, number, deadline - reserve)
    except NonFiniteLossError as error:
        return ShortRuns(pilots, None, f"{error}.")


def run_pair(whole: Distillation, pilots: dict[str, Record], num_batches: int, deadline: float) -> ShortRuns:
    """Train both students on so many batches, one after the other."""
    runs: dict[str, Record] = {}
    for student in STUDENTS:
        whole.pipeline.say(f"{student}: {num_batches:,} batches, of {total_batches(whole):,} of the whole run")
        runs[student] = run_short(whole, student, num_batches, deadline - time.perf_counter())
        if not runs[student]["is_whole"]:
            reason = f"{student} was stopped after {runs[student]['batches']:,} of {num_batches:,} batches"
            return ShortRuns(pilots, None, f"{reason}: they took longer than in the trial; give more --seconds.")
    return ShortRuns(pilots, runs)


def total_batches(whole: Distillation) -> int:
    """Return the batches that a student of the whole run is trained on."""
    return whole.command.trainer.max_epochs * whole.data.steps_per_epoch
