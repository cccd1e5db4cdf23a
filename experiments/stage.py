"""A stage: its settings first, its checkpoints and metrics, its record last."""

import uuid
from pathlib import Path
from typing import Any

import torch.distributed

from experiments.files import read_json, write_atomically, write_json

ELSEWHERE = {
    "trainer.accelerator",
    "trainer.devices",
    "trainer.num_nodes",
    "trainer.strategy",
    "trainer.enable_progress_bar",
    "trainer.profiler",
    "data.num_workers",
    "data.root",
    "data.download",
    "data.cache",
}
"""Settings that say where and how a stage is computed, not what; they may change between interruption and resume."""

Record = dict[str, Any]
"""What ``results.json`` holds of one stage."""


class Stage:
    """The directory of one stage: its settings first, its checkpoints and metrics, its record last."""

    def __init__(self, name: str, run_directory: Path, number: int, settings: dict[str, Any], is_main: bool) -> None:
        self.name = name
        self.run_directory = run_directory
        self.directory = run_directory / "stages" / f"{number}-{name}"
        self.settings = settings
        self.is_main = is_main

    def finished(self) -> Record | None:
        """Return the record of a finished stage.

        Raises:
            ValueError: the stage was begun with other settings.
        """
        begun = read_json(self.directory / "settings.json")
        if begun is not None and (self.last_checkpoint.exists() or (self.directory / "stage.json").exists()):
            require_same_settings(begun, self.settings, self)
        return read_json(self.directory / "stage.json")

    def begin(self) -> None:
        """Write down the settings, and an id that no other stage has, before anything is done."""
        if self.is_main:
            self.directory.mkdir(parents=True, exist_ok=True)
            if not self._id_file.exists():
                write_atomically(self._id_file, uuid.uuid4().hex[:12])
            write_json(self.directory / "settings.json", self.settings)

    @property
    def _id_file(self) -> Path:
        return self.directory / "id"

    def read_id(self) -> str:
        """Return the id that the stage keeps when it resumes."""
        return self._id_file.read_text()

    def finish(self, record: Record) -> None:
        """Write the record, last and atomically; every process waits for it."""
        if self.is_main:
            write_json(self.directory / "stage.json", record)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.barrier()

    @property
    def last_checkpoint(self) -> Path:
        """The checkpoint from which an interrupted stage goes on."""
        return self.directory / "checkpoints" / "last.ckpt"

    @property
    def best_checkpoint(self) -> Path:
        """The checkpoint of the best epoch on validation."""
        return self.directory / "checkpoints" / "best.ckpt"

    def resume_checkpoint(self) -> Path | None:
        """Return the checkpoint to resume from, ``None`` where nothing was done yet.

        Raises:
            ValueError: epochs were done, and their checkpoint is gone.
        """
        if self.last_checkpoint.exists():
            return self.last_checkpoint
        metrics = self.directory / "metrics.csv"
        if metrics.exists():
            raise ValueError(
                f"checkpoint {self.last_checkpoint}: missing, though {metrics} shows that this stage was begun; "
                f"put it back, or delete {self.directory} to begin the stage anew"
            )
        return None

    def relative(self, path: Path) -> str:
        """Return a path as ``results.json`` has it, relative to the run's directory."""
        return str(path.relative_to(self.run_directory))


def require_same_settings(begun: dict[str, Any], now: dict[str, Any], stage: Stage) -> None:
    """Raise a ``ValueError`` naming the first setting that differs from those a stage was begun with."""
    before, after = flatten(begun), flatten(now)
    for option in sorted((before.keys() | after.keys()) - ELSEWHERE):
        if before.get(option) != after.get(option):
            raise ValueError(
                f"{option}: got {after.get(option)!r}, but stage {stage.name!r} in {stage.run_directory} was begun "
                f"with {before.get(option)!r}; give the run another --name, or delete {stage.directory}"
            )


def flatten(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested dictionaries as one, with dotted names as on the command line."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, dict) and value:
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
