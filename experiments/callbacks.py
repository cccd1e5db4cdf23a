"""Callbacks that every fit of an experiment has."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, RichProgressBar
from torch import Tensor

from experiments.interruption import raise_on_signals


class MovableCheckpoint(ModelCheckpoint):
    """Keeps what it knows when the run's directory is moved or renamed; Lightning's forgets the best score."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the scores, and the paths as they are now."""
        paths = ("best_model_path", "kth_best_model_path", "last_model_path")
        moved = {name: self._here(state_dict[name]) for name in paths if state_dict.get(name)}
        best = {self._here(path): score for path, score in state_dict.get("best_k_models", {}).items()}
        super().load_state_dict({**state_dict, **moved, "best_k_models": best, "dirpath": self.dirpath})

    def _here(self, path: str) -> str:
        return os.path.join(str(self.dirpath), os.path.basename(path))


class BestCheckpoint(MovableCheckpoint):
    """Keeps the epoch that is best on validation as ``best.ckpt``; of equals the latest.

    Accuracy on a small validation split has few values, so that equals are common, and the first of them is
    the least trained.
    """

    def __init__(self, directory: Path, monitor: str) -> None:
        super().__init__(directory, filename="best", monitor=monitor, mode="max", enable_version_counter=False)

    def check_monitor_top_k(self, trainer: Trainer, current: Tensor | None = None) -> bool:
        """Return whether ``current`` is at least as good as the best so far."""
        best = self.best_model_score
        return current is not None and (best is None or bool(current >= best.to(current.device)))


class LastCheckpoint(MovableCheckpoint):
    """Keeps ``last.ckpt``, from which an interrupted stage resumes: at the start and after every epoch.

    That it is written before the first step shows at once whether it can be.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, filename="last", save_on_train_epoch_end=True, enable_version_counter=False)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the first checkpoint."""
        super().on_train_start(trainer, pl_module)
        if trainer.current_epoch == 0:
            path = os.path.join(str(self.dirpath), "last.ckpt")
            try:
                trainer.save_checkpoint(path)
            except OSError as error:
                raise ValueError(f"output: cannot write {path} ({error.strerror or error}); see --output") from error


class StageProgressBar(RichProgressBar):
    """Rich's progress bar, redrawn every few batches: drawing it costs as much as a small network's step."""

    def __init__(self, every: int = 10) -> None:
        super().__init__(refresh_rate=every)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Redraw, if it is time."""
        if (batch_idx + 1) % self.refresh_rate == 0 or batch_idx + 1 == self.total_train_batches:
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)


class SeedEveryEpoch(Callback):
    """Sets torch's random state at every epoch from (seed, epoch, rank), so that a resumed epoch repeats itself."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Seed what draws from torch's generator, after the loaders' iterators drew from it."""
        if batch_idx == 0:
            torch.manual_seed(hash((self.seed, trainer.current_epoch, trainer.global_rank)))


class StopOnSignals(Callback):
    """Puts the program's own signal handlers back in the place of Lightning's.

    Those end a fit as if it were done, and with several processes they may wait for ever: they broadcast from
    within the handler, whatever collective call was interrupted.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Install the handlers, after Lightning installed its own."""
        raise_on_signals()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Likewise."""
        raise_on_signals()

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Likewise."""
        raise_on_signals()

    processes: ClassVar[list[Any]] = []
    """What the first Trainer of this program started; the later ones run in the same processes."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Note the processes that the Trainer started."""
        self.processes.extend(getattr(trainer.strategy.launcher, "procs", []))

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """End the processes that this one started; they wait for it in a collective call for ever."""
        for process in self.processes:
            process.kill()


class SplitInCheckpoint(Callback):
    """Notes in every checkpoint which samples it was trained and validated on, and the names of their classes.

    Args:
        split: the datamodule's ``split``.
        class_names: ``K`` names in the order of the class indices.
    """

    def __init__(self, split: dict[str, object], class_names: Sequence[str]) -> None:
        self.split = split
        self.class_names = list(class_names)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the split and the names."""
        checkpoint["split"] = self.split
        checkpoint["class_names"] = self.class_names
