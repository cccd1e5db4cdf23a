"""A run: a directory with its configuration, its stages and, at the end, its results."""

import dataclasses
import json
import os
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from experiments.commands import Command
from experiments.files import read_json, write_atomically, write_json
from experiments.reports.command import write_report
from experiments.stage import Record, Stage
from experiments.tracking import resolve_mode


class Run:
    """The directory ``output/name`` of one run.

    Args:
        command: the command's name.
        settings: everything the user set.

    Raises:
        ValueError: the directory cannot be written.
    """

    def __init__(self, command: str, settings: Command) -> None:
        self.command = command
        self.settings = settings
        self.name = settings.name or command
        self.directory = Path(settings.output) / self.name
        self.records: dict[str, Record] = {}
        self.is_main = is_main_process()
        self._require_own()
        self.tracking, tracking_line = resolve_mode(settings.wandb)
        if self.is_main:
            self._require_writable()
        self.say(tracking_line)

    def _require_own(self) -> None:
        if (self.directory / "comparison.json").exists():
            raise ValueError(f"name: {self.directory} holds a comparison; give the run another --name")
        results = read_json(self.directory / "results.json") or {}
        if results.get("command", self.command) != self.command:
            raise ValueError(
                f"name: {self.directory} holds the results of {results['command']!r}, which {self.command!r} would "
                "overwrite; give the run another --name"
            )

    def _require_writable(self) -> None:
        trial = self.directory / ".writable"
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            write_atomically(trial, "")
            trial.unlink()
        except OSError as error:
            raise ValueError(
                f"output: cannot write {self.directory} ({error.strerror or error}); "
                "expected a directory that can be written: see --output and --name"
            ) from error

    def stage(self, name: str, work: Callable[["Stage"], Record], **settings: Any) -> Record:
        """Do a stage, resume it, or take it as done before.

        Args:
            name: of the stage; stages are numbered in the order in which they are asked for.
            work: does the stage and returns its record.
            **settings: dataclasses and plain values on which the stage's result depends.

        Raises:
            ValueError: the stage was begun with other settings.
        """
        stage = Stage(name, self.directory, len(self.records), plain(settings), self.is_main)
        record = stage.finished()
        if not (self.directory / "config.yaml").exists():  # else a stage to come may refuse what has changed
            self._write_config()
        if record is None:
            stage.begin()
            record = work(stage)
            stage.finish(record)
        else:
            self.say(f"{name}: finished before, not done again")
        self.records[name] = record
        return record

    def finish(self, num_skipped: int = 0, **conclusions: Any) -> dict[str, Any]:
        """Write ``results.json`` and the report, and return the former's content.

        Args:
            num_skipped: unreadable files that this process skipped; said if there are any.
            **conclusions: further plain values, of all stages together.
        """
        if num_skipped:
            self.say(f"{num_skipped} unreadable images were skipped; the log above names them")
        device = next(iter(self.records.values())).get("device", "cpu") if self.records else "cpu"
        results = {
            "command": self.command,
            "name": self.name,
            "seed": self.settings.seed,
            "versions": library_versions(),
            "device": device,
            "skipped_images": num_skipped,
            "stages": self.records,
            **conclusions,
        }
        self._write_config()
        if self.is_main:
            write_json(self.directory / "results.json", results)
            if self.settings.report:
                self.say(f"report: {write_report([self.directory], self.directory)}")
        return results

    def _write_config(self) -> None:
        if self.is_main:
            config = yaml.safe_dump(plain(vars(self.settings)), sort_keys=False)
            write_atomically(self.directory / "config.yaml", config)

    def say(self, message: str) -> None:
        """Print a line, once whatever the number of processes."""
        if self.is_main:
            print(message, flush=True)


def library_versions() -> dict[str, str]:
    """Return the versions of what the numbers depend on."""
    return {name: version(name) for name in ("torch", "torchvision", "lightning", "timm", "torchmetrics")}


def is_main_process() -> bool:
    """Return whether this process writes and prints: the first of all that a launcher started, if one did."""
    rank = next((os.environ[name] for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID") if name in os.environ), "0")
    node = os.environ.get("NODE_RANK", "0") if "RANK" not in os.environ else "0"
    return rank == "0" and node == "0"


def plain(settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings with dataclasses as dictionaries and tuples as lists, as JSON has them."""
    content = {
        name: dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else value
        for name, value in settings.items()
    }
    as_json: dict[str, Any] = json.loads(json.dumps(content))
    return as_json
