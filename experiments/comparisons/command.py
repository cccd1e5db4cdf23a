"""Several settings and seeds of a command: the runs, several at a time, and what they say together."""

import dataclasses
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from experiments.command_line import BAD_INPUT, parse
from experiments.commands import Command
from experiments.comparisons.rows import FinishedRun, Setting, choose_pairs, measure_of
from experiments.comparisons.settings import CompareCommand
from experiments.comparisons.statistics import summarize_pair, summarize_row
from experiments.comparisons.tables import print_comparison, to_markdown
from experiments.files import read_json, write_atomically, write_json
from experiments.launching import Launch, last_words, run_all
from experiments.locking import is_locked
from experiments.reports.command import write_report

OF_COMPARISON = {"name": "settings", "output": "output", "seed": "seeds", "wandb": "wandb"}
"""Options of a run that the comparison sets, and by which of its own."""


@dataclass(frozen=True)
class PlannedRun:
    """A seed of a setting.

    Attributes:
        setting: its name.
        command: what is run.
        settings: of the command, with the run's own seed and directory.
    """

    setting: str
    command: str
    settings: Command

    @property
    def name(self) -> str:
        """Name of the run and of its directory."""
        return f"{self.setting}-{self.settings.seed}"

    @property
    def directory(self) -> Path:
        """Directory of the run."""
        return Path(self.settings.output) / self.name

    @property
    def log(self) -> Path:
        """What the run says."""
        return self.directory / "log.txt"

    def launch(self) -> Launch:
        """Write down what is to be run, and return how."""
        self.directory.mkdir(parents=True, exist_ok=True)
        write_atomically(self._begun, self._config())
        return Launch(self.name, (self.command, "--config", str(self._begun)), self.log)

    def finish(self) -> None:
        """Note that the run ended well with these settings."""
        os.replace(self._begun, self._finished)

    def results(self) -> dict[str, Any] | None:
        """Return the results, ``None`` unless the run ended well with these very settings."""
        is_same = self._finished.is_file() and self._finished.read_text() == self._config()
        return read_json(self.directory / "results.json") if is_same else None

    @property
    def _begun(self) -> Path:
        return self.directory / "begun.yaml"

    @property
    def _finished(self) -> Path:
        return self.directory / "finished.yaml"

    def _config(self) -> str:
        return yaml.safe_dump(json.loads(json.dumps(dataclasses.asdict(self.settings))), sort_keys=False)


def run(command: CompareCommand) -> dict[str, Any]:
    """Do the runs that are not done, print the tables of all, return what ``comparison.json`` holds.

    Raises:
        ValueError: an option of a setting is unknown or wrong, before anything is run, or there is no such baseline.
        RuntimeError: a run failed; the tables are of the others.
    """
    directory = Path(command.output) / command.name
    if (directory / "results.json").exists():
        raise ValueError(f"name: {directory} holds the results of a run; give the comparison another --name")
    runs = plan(command)
    failed = carry_out_runs(runs, command.jobs)
    done = [each for each in runs if each.name not in failed]
    comparison: dict[str, Any] = {}
    if done:
        comparison = compare(command, done)
        write_json(directory / "comparison.json", comparison)
        write_atomically(directory / "comparison.md", to_markdown(comparison))
        print_comparison(comparison)
        print(f"report: {write_report([directory], directory)}", flush=True)
    if failed:
        raise RuntimeError(
            f"{len(failed)} of {len(runs)} runs failed, {', '.join(failed)}; the same command does them again"
        )
    return comparison


def plan(command: CompareCommand) -> list[PlannedRun]:
    """Return all runs, the first seed of each setting first.

    Raises:
        ValueError: an option of a setting is unknown or wrong.
    """
    settings = {name: settings_of(command, name, options) for name, options in command.options_of_settings.items()}
    directory = Path(command.output) / command.name
    return [
        PlannedRun(name, command.command, place(settings[name], f"{name}-{seed}", int(seed), directory, command.wandb))
        for seed in command.seeds
        for name in settings
    ]


def settings_of(command: CompareCommand, name: str, options: dict[str, Any]) -> Command:
    """Return the settings of a command with those of ``experiment`` and, over them, a setting's own options."""
    for option in OF_COMPARISON.keys() & options.keys():
        raise ValueError(
            f"settings.{name}.{option}: got {options[option]!r}, expected no such option: --{OF_COMPARISON[option]} "
            "of the comparison says it"
        )
    given = command.experiment
    if given is not None and not Path(given).is_file():
        raise ValueError(
            f"experiment: got {given}, expected a YAML file of {command.command}; there is none of that name"
        )
    files = [] if given is None else ["--config", given]
    try:
        settings, _ = parse(command.command, [*files, "--config", json.dumps(options)])
    except SystemExit as refusal:
        raise ValueError(
            f"settings.{name}: got what is said above, expected options of {command.command}: see there"
        ) from refusal
    assert isinstance(settings, Command), f"{command.command} leaves no run's directory"
    return settings


def place(settings: Command, name: str, seed: int, directory: Path, wandb: Any) -> Command:
    """Return a run's settings: those of its setting, with its seed and directory."""
    trainer = dataclasses.replace(settings.trainer, enable_progress_bar=False)
    return dataclasses.replace(settings, name=name, seed=seed, output=str(directory), wandb=wandb, trainer=trainer)


def carry_out_runs(runs: Sequence[PlannedRun], jobs: int) -> list[str]:
    """Do the runs that are not done, say how each ended, return the names of those that failed.

    Raises:
        ValueError: a run is still at work, of a comparison that was killed.
    """
    waiting = {each.name: each for each in runs if each.results() is None}
    for each in waiting.values():
        if is_locked(each.log):
            raise ValueError(f"{each.directory}: a run is at work in it, expected none; end it, or wait until it ends")
    print(f"{len(runs)} runs, {len(runs) - len(waiting)} of them done before; up to {jobs} at a time", flush=True)

    def ended(launch: Launch, status: int) -> None:
        if status == 0:
            waiting[launch.name].finish()
            print(f"{launch.name}: done", flush=True)
        else:
            said = f"{last_words(launch.log)} (all of it in {launch.log})"
            print(f"{launch.name}: failed with exit status {status}: {said}", flush=True)

    statuses = run_all([each.launch() for each in waiting.values()], jobs, ended)
    failed = [name for name, status in statuses.items() if status]
    if failed and all(statuses[name] == BAD_INPUT for name in failed):
        raise ValueError(
            f"{', '.join(failed)}: refused as said above; mend the option, or give the comparison another --name where "
            "its settings have changed"
        )
    return failed


def compare(command: CompareCommand, runs: Sequence[PlannedRun]) -> dict[str, Any]:
    """Return what ``comparison.json`` holds, of runs that are done."""
    found: dict[str, list[FinishedRun]] = {}
    for each in runs:
        results = each.results()
        assert results is not None, f"{each.name} has ended well and left no results"
        found.setdefault(each.setting, []).append(FinishedRun(each.settings.seed, each.directory, results))
    everything = [each for group in found.values() for each in group]
    measure = measure_of(everything)
    settings = [Setting(name, found[name], measure) for name in command.options_of_settings if name in found]
    rows = [row for setting in settings for row in setting.rows()]
    pairs = choose_pairs(settings, rows, command.command, command.baseline)
    first = everything[0].results
    return {
        "command": "compare",
        "name": command.name,
        "seeds": [int(seed) for seed in command.seeds],
        "jobs": command.jobs,
        "measure": measure,
        "device": first["device"],
        "versions": first["versions"],
        "rows": [summarize_row(row) for row in rows],
        "pairs": [summarize_pair(*pair) for pair in pairs],
    }
