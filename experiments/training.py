"""Fitting a module as a stage: resumable, tracked, tested on its best epoch."""

import dataclasses
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from lightning import Trainer
from lightning.pytorch.callbacks import Callback, LearningRateMonitor, Timer, WeightAveraging
from lightning.pytorch.loggers import Logger

from datamodules.labeled import LabeledDataModule
from datamodules.two_streams import TwoStreamDataModule
from experiments.callbacks import (
    BestCheckpoint,
    LastCheckpoint,
    SeedEveryEpoch,
    SplitInCheckpoint,
    StageProgressBar,
    StopOnSignals,
)
from experiments.collecting import PredictionCollector
from experiments.mask_report import draw_examples
from experiments.metrics_log import MetricsLog
from experiments.prediction_tables import OVERLAYS
from experiments.records import describe
from experiments.run import Run, library_versions
from experiments.settings import TrainerSettings
from experiments.stage import Record, Stage
from experiments.tracking import StageTracking, finish_wandb
from lightning_modules.checkpoints import AtomicCheckpointIO, load_checkpoint
from lightning_modules.inference import Precision
from lightning_modules.networks import count_parameters
from lightning_modules.student import StudentModule
from lightning_modules.weights import read_file

Data: TypeAlias = LabeledDataModule | TwoStreamDataModule


@dataclasses.dataclass(frozen=True)
class Fitting:
    """How the stages of a run are fitted and evaluated.

    Attributes:
        run: the run they belong to.
    """

    run: Run

    def fit(
        self,
        stage: Stage,
        module: StudentModule,
        data: Data,
        settings: TrainerSettings,
        callbacks: Sequence[Callback] = (),
        uses: str | None = None,
    ) -> Record:
        """Fit ``module``, evaluate its best epoch on validation and test, return the stage's record.

        Args:
            stage: where the fit leaves its checkpoints and metrics.
            module: what is fitted; afterwards it has the weights of its best epoch.
            data: what it is fitted to.
            settings: the trainer's.
            callbacks: beside those that every fit has.
            uses: artifact that is learned from, ``NAME:ALIAS``, for W&B's lineage.
        """
        resume = stage.resume_checkpoint()
        resume_step = int(load_checkpoint(resume)["global_step"]) if resume else 0
        self.run.say(f"{stage.name}: {count_parameters(module.network):,} parameters{resumed(resume_step)}")
        timer = Timer()
        collector = PredictionCollector(data.class_names)
        every_fit = [
            timer,
            collector,
            SplitInCheckpoint(data.split, data.class_names),
            *create_callbacks(stage.last_checkpoint.parent, self.run.settings.seed, module.monitor),
            *callbacks,
        ]
        settings = dataclasses.replace(settings, strategy=strategy_for(module, settings))
        log, tracking = MetricsLog(stage.directory, resume_step), self.tracking(stage)
        wandb_logger = tracking.logger(uses)
        loggers = [log, *([wandb_logger] if wandb_logger else [])]
        trainer = create_trainer(settings, every_fit, loggers, stage.directory)
        try:
            trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=True)
            last = {f"last/{module.monitor}": value for value in log.last(module.monitor)}
            record = self._test_best(stage, trainer, module, data)
            record |= {"seconds": round(timer.time_elapsed("train"), 2)}
            self._keep(stage.directory, collector, module, data, trainer)
            metrics = record["metrics"]
            tracking.log_outcome(stage, collector, last | {f"best/{module.monitor}": metrics[module.monitor]}, metrics)
        finally:
            finish_wandb()
        return record

    def _test_best(self, stage: Stage, trainer: Trainer, module: StudentModule, data: Data) -> Record:
        """Load the best epoch, evaluate it on validation and test, return the record of the training."""
        # Else Lightning would validate the average of the last step in place of the best epoch.
        kept = [each for each in trainer.callbacks if not isinstance(each, WeightAveraging)]  # type: ignore[attr-defined]
        trainer.callbacks = kept  # type: ignore[attr-defined]
        module.load_state_dict(load_checkpoint(stage.best_checkpoint)["state_dict"])
        metrics = evaluate(trainer, module, data)
        return describe(module, trainer, metrics, data) | {
            "steps": trainer.global_step,
            "epochs": trainer.current_epoch,
            "images": data.images_per_step * data.steps_per_epoch * trainer.current_epoch,
            "checkpoint": stage.relative(stage.best_checkpoint),
        }

    def evaluate(
        self,
        module: StudentModule,
        data: Data,
        settings: TrainerSettings,
        directory: Path,
        checkpoint: str | Path | None = None,
    ) -> Record:
        """Evaluate ``module`` as it is on validation and test, return a record without training.

        Where its ``checkpoint`` was trained on another split, some of today's validation samples may have been
        trained on: then on test alone.

        Args:
            module: what is evaluated.
            data: whose validation and test samples are looked at.
            settings: the trainer's.
            directory: where predictions of the test images go.
            checkpoint: where the module's weights come from.
        """
        collector = PredictionCollector(data.class_names)
        trainer = create_trainer(settings, [StopOnSignals(), collector], False, self.run.directory)
        metrics = evaluate(trainer, module, data)
        self._keep(directory, collector, module, data, trainer)
        if checkpoint is not None and read_file(checkpoint).get("split") != data.split:
            self.run.say(f"{checkpoint} was trained on another split of the data: no validation figures of it")
            metrics = {name: value for name, value in metrics.items() if not name.startswith("val/")}
        untrained = dict.fromkeys(("seconds", "steps", "images", "checkpoint"))
        return describe(module, trainer, metrics, data) | untrained

    def device(self, settings: TrainerSettings) -> torch.device:
        """Return the device on which this process computes."""
        return create_trainer(settings, [], False, self.run.directory).strategy.root_device

    def tracking(self, stage: Stage) -> StageTracking:
        """Return where the stage's W&B run goes; the first process has it alone."""
        mode = self.run.tracking if self.run.is_main else "off"
        run_id = stage.read_id() if self.run.is_main else ""
        settings = stage.settings | {"versions": library_versions()}
        checkpoints = self.run.settings.wandb_checkpoints
        return StageTracking(mode, self.run.directory, self.run.name, stage.name, run_id, settings, checkpoints)

    def _keep(
        self, directory: Path, collector: PredictionCollector, module: StudentModule, data: Data, trainer: Trainer
    ) -> None:
        """Write what the test showed, in one process; of masks also a picture."""
        if not self.run.is_main:
            return
        collector.write(directory, data.test)
        if collector.confusion is not None:
            device = trainer.strategy.root_device
            draw_examples(directory / OVERLAYS, module.network, data.test, data.class_names, device)


def inference_precision(settings: TrainerSettings) -> Precision:
    """Return the precision of a network alone: the trainer's, but float32 where that is 16-mixed."""
    return "bfloat16" if settings.precision == "bf16-mixed" else "float32"


def resumed(step: int) -> str:
    """Return what to say of a stage that goes on."""
    return f", resumed at step {step}" if step else ""


def create_callbacks(checkpoints: Path, seed: int, monitor: str) -> list[Callback]:
    """Return what every fit has: checkpoints of the best and the last epoch, seeds, signals, learning rates."""
    return [
        StopOnSignals(),
        SeedEveryEpoch(seed),
        LearningRateMonitor("step"),
        BestCheckpoint(checkpoints, monitor),
        LastCheckpoint(checkpoints),
    ]


def create_trainer(
    settings: TrainerSettings, callbacks: list[Callback], loggers: list[Logger] | Literal[False], directory: Path
) -> Trainer:
    """Return Lightning's Trainer with the user's settings and this project's way of writing checkpoints."""
    quiet_lightning()
    if settings.enable_progress_bar:
        callbacks = [*callbacks, StageProgressBar()]
    return Trainer(
        **dataclasses.asdict(settings),
        callbacks=callbacks,
        logger=loggers,
        plugins=[AtomicCheckpointIO()],
        default_root_dir=directory,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )


def strategy_for(module: StudentModule, settings: TrainerSettings) -> str:
    """Return the user's strategy; for gradual unfreezing on several processes, DDP that allows for frozen parameters.

    DDP counts the parameters that learn once, before the first epoch, and waits for the gradients of all of them.
    """
    if module.transfer.mode != "gradual" or settings.strategy not in ("auto", "ddp"):
        return settings.strategy
    quiet_lightning()
    devices = {name: getattr(settings, name) for name in ("accelerator", "devices", "num_nodes")}
    is_single = Trainer(**devices, logger=False, enable_checkpointing=False).world_size == 1
    return "auto" if is_single and settings.strategy == "auto" else "ddp_find_unused_parameters_true"


def quiet_lightning() -> None:
    """Silence what Lightning says of every Trainer, several times a pipeline, and that is intended here."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # What it says when one of several processes dies is the only word before it kills the others.
    logging.getLogger("lightning.fabric.strategies.launchers.subprocess_script").setLevel(logging.INFO)
    for message in (
        ".*does not have many workers.*",  # sources in memory are fastest without
        ".*smaller than the logging interval.*",  # small sets
        ".*exists and is not empty.*",  # stages resume in their directories
        ".*treespec, LeafSpec.*",  # Lightning 2.6.6 with torch 2.14
    ):
        warnings.filterwarnings("ignore", message=message)


def evaluate(trainer: Trainer, module: StudentModule, data: Data) -> dict[str, float]:
    """Return the module's metrics on validation and test."""
    values: dict[str, Any] = {}
    if trainer.progress_bar_callback is not None:
        trainer.progress_bar_callback.disable()
    for evaluation in (trainer.validate, trainer.test):
        values |= evaluation(module, datamodule=data, verbose=False)[0]
    return {name: float(value) for name, value in values.items()}
