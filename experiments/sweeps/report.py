"""What a sweep found: its table, the best trial's command line, ``sweep.json``."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table

from experiments.files import read_json, write_json
from experiments.sweeps.following import Followed
from experiments.sweeps.settings import SweepCommand
from experiments.tables import WIDTH

if TYPE_CHECKING:
    import optuna


def report(study: "optuna.Study", command: SweepCommand, directory: Path, followed: Followed) -> dict[str, Any]:
    """Print the trials and the best of them, write ``sweep.json`` and return what it holds.

    Raises:
        RuntimeError: no trial came to its end.
    """
    trials = [describe_trial(trial, command) for trial in study.trials]
    complete = [trial for trial in trials if trial["state"] == "complete"]
    choose = min if command.minimizes else max
    best = choose(complete, key=lambda trial: trial["value"]) if complete else None
    found = {
        "name": command.name,
        "command": command.command,
        "experiment": command.experiment,
        "metric": command.metric,
        "direction": "minimize" if command.minimizes else "maximize",
        "seed": command.seed,
        "trials": trials,
        "best": None if best is None else describe_best(best, command, directory, followed),
    }
    write_json(directory / "sweep.json", found)
    print_trials(found)
    if best is None:
        errors = [trial["error"] for trial in trials if trial["error"]]
        raise RuntimeError(
            f"none of {len(trials)} trials came to its end; the last said: {errors[-1] if errors else 'nothing'}; "
            f"mend what failed, then delete {directory}, or raise --num_trials"
        )
    return found


def describe_trial(trial: "optuna.trial.FrozenTrial", command: SweepCommand) -> dict[str, Any]:
    """Return a trial as ``sweep.json`` has it; a pruned one's value is that of the epoch at which it was."""
    return {
        "number": trial.number,
        "parameters": {option: trial.params.get(option) for option in command.parameters},
        "value": trial.value,
        "state": trial.state.name.lower(),
        "seconds": trial.user_attrs.get("seconds"),
        "error": trial.user_attrs.get("error"),
    }


def describe_best(trial: dict[str, Any], command: SweepCommand, directory: Path, followed: Followed) -> dict[str, Any]:
    """Return the best trial with its command line and what its network reaches on test, which chose nothing."""
    results = read_json(directory / f"trial-{trial['number']}" / "results.json")
    assert results is not None, "a trial that is complete has results"
    test = {name: value for name, value in followed.reached(results).items() if name.startswith("test/")}
    chosen = {option: str(value) for option, value in trial["parameters"].items()}
    line = ["python", "-m", "experiments", command.command, *command.options(chosen), f"--name={command.name}-best"]
    return {**trial, "test": test, "command_line": shlex.join(line)}


def print_trials(found: dict[str, Any]) -> None:
    """Print a row a trial, then the best one, what it reaches on test and how it is run again."""
    parameters = list(found["trials"][0]["parameters"])
    caption = "pruned: the value of the epoch at which it was ended; seconds: since it last began"
    table = Table(title=found["name"], caption=caption, box=box.SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
    for heading in ("trial", *last_names(parameters), found["metric"], "state", "seconds"):
        table.add_column(heading, justify="right", overflow="fold")
    for trial in found["trials"]:
        values = [shorten(trial["parameters"][option]) for option in parameters]
        state = trial["state"] if trial["error"] is None else "failed"
        table.add_row(str(trial["number"]), *values, shorten(trial["value"]), state, shorten(trial["seconds"]))
    console = Console(width=max(WIDTH, Console().width))
    console.print(table)
    best = found["best"]
    if best is not None:
        measure = found["metric"].replace("val/", "test/")
        tested = best["test"].get(measure)
        print(f"Best: trial {best['number']}, {found['metric']} {shorten(best['value'])}.")
        if tested is not None:
            print(f"It has {measure} {shorten(tested)}; no other trial's was looked at.")
        print(best["command_line"])


def last_names(options: Sequence[str]) -> list[str]:
    """Return the last part of each dotted option, more of it where two end alike."""
    last = [option.rpartition(".")[2] for option in options]
    return [name if last.count(name) == 1 else option for name, option in zip(last, options, strict=True)]


def shorten(value: Any) -> str:
    """Return a number with four digits, other values as they are; a dash where there is none."""
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
