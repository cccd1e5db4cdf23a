"""Fitting a module as a stage: resumable, tracked, tested on its best epoch."""

import dataclasses
import logging
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from lightning import Trainer
from lightning.pytorch.callbacks import Callback, LearningRateMonitor, Timer
from lightning.pytorch.loggers import Logger

from datamodules.labeled import LabeledDataModule
from datamodules.pseudo_labeled import PseudoLabeledDataModule
from datamodules.unlabeled import UnlabeledDataModule
from experiments.callbacks import (
    BestCheckpoint,
    LastCheckpoint,
    SeedEveryEpoch,
    SplitInCheckpoint,
    StageProgressBar,
    StopOnSignals,
)
from experiments.metrics_log import MetricsLog
from experiments.run import Run
from experiments.settings import TrainerSettings
from experiments.stage import Record, Stage
from experiments.tracking import StageTracking, artifact_name, finish_wandb
from lightning_modules.checkpoints import AtomicCheckpointIO, load_checkpoint
from lightning_modules.networks import count_parameters
from lightning_modules.student import StudentModule
from lightning_modules.weights import read_file

Data: TypeAlias = LabeledDataModule | UnlabeledDataModule | PseudoLabeledDataModule


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
            uses: stage whose artifact is learned from, for W&B's lineage.
        """
        resume = stage.resume_checkpoint()
        resume_step = int(load_checkpoint(resume)["global_step"]) if resume else 0
        self.run.say(f"{stage.name}: {count_parameters(module.network):,} parameters{resumed(resume_step)}")
        timer = Timer()
        every_fit = [
            timer,
            SplitInCheckpoint(data.split, data.class_names),
            *create_callbacks(stage.last_checkpoint.parent, self.run.settings.seed, module.monitor),
            *callbacks,
        ]
        settings = dataclasses.replace(settings, strategy=strategy_for(module, settings))
        trainer = create_trainer(settings, every_fit, self._loggers(stage, resume_step, uses), stage.directory)
        try:
            trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=True)
            module.load_state_dict(load_checkpoint(stage.best_checkpoint)["state_dict"])
            metrics = evaluate(trainer, module, data)
        finally:
            finish_wandb()
        return describe(module, trainer, metrics) | {
            "seconds": round(timer.time_elapsed("train"), 2),
            "steps": trainer.global_step,
            "epochs": trainer.current_epoch,
            "checkpoint": stage.relative(stage.best_checkpoint),
        }

    def evaluate(
        self, module: StudentModule, data: Data, settings: TrainerSettings, checkpoint: str | Path | None = None
    ) -> Record:
        """Evaluate ``module`` as it is on validation and test, return a record without training.

        Where its ``checkpoint`` was trained on another split, some of today's validation samples may have been
        trained on: then on test alone.
        """
        trainer = create_trainer(settings, [StopOnSignals()], False, self.run.directory)
        metrics = evaluate(trainer, module, data)
        if checkpoint is not None and read_file(checkpoint).get("split") != data.split:
            self.run.say(f"{checkpoint} was trained on another split of the data: no validation figures of it")
            metrics = {name: value for name, value in metrics.items() if not name.startswith("val/")}
        return describe(module, trainer, metrics) | {"seconds": None, "steps": None, "checkpoint": None}

    def device(self, settings: TrainerSettings) -> torch.device:
        """Return the device on which this process computes."""
        return create_trainer(settings, [], False, self.run.directory).strategy.root_device

    def tracking(self, stage: Stage) -> StageTracking:
        """Return where the stage's W&B run goes; the first process has it alone."""
        mode = self.run.tracking if self.run.is_main else "off"
        run_id = stage.read_id() if self.run.is_main else ""
        return StageTracking(mode, self.run.directory, self.run.name, stage.name, run_id, stage.settings)

    def _loggers(self, stage: Stage, resume_step: int, uses: str | None) -> list[Logger]:
        artifact = None if uses is None else artifact_name(self.run.name, uses)
        wandb_logger = self.tracking(stage).logger(artifact)
        return [MetricsLog(stage.directory, resume_step), *([wandb_logger] if wandb_logger else [])]


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


def describe(module: StudentModule, trainer: Trainer, metrics: dict[str, float]) -> Record:
    """Return what every record holds: the network's size, where it ran, its metrics."""
    return {
        "parameters": count_parameters(module.network),
        "device": describe_device(trainer.strategy.root_device),
        "processes": trainer.world_size,
        "metrics": metrics,
    }


def describe_device(device: torch.device) -> str:
    """Return the device's name: ``cpu`` with its number of cores, or the GPU's model."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({os.cpu_count()} cores)" if device.type == "cpu" else device.type
