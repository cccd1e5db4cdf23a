"""Sweeps: the best values of a command's options on validation, found by runs that are compared while they go on."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from experiments.command_line import parse
from experiments.locking import try_lock
from experiments.sweeps.following import follow
from experiments.sweeps.settings import SweepCommand
from experiments.sweeps.space import examples


def run(command: SweepCommand) -> dict[str, Any]:
    """Do all trials that are not done, print their table, return what ``sweep.json`` holds.

    Raises:
        ValueError: Optuna is missing, the sweep was begun with other settings, or another call is at work on it.
        RuntimeError: no trial came to its end.
        SystemExit: with status 2, when the command's own parser named a mistake in the parameters.
    """
    settings = [parse(command.command, command.options(chosen))[0] for chosen in examples(command.parameters)]
    if find_spec("optuna") is None:
        raise ValueError("sweep: expected the package optuna, which is not installed: pip install '.[sweep]'")
    num_rounds = max(getattr(each, "num_rounds", 0) for each in settings)
    directory = Path(command.output) / command.name
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "sweep.lock").open("ab") as lock:
        if not try_lock(lock):
            raise ValueError(
                f"name: got {command.name!r}, but another call is at work in {directory}; wait for its end, or give "
                "this sweep another --name"
            )
        return do_trials(command, directory, num_rounds)


def do_trials(command: SweepCommand, directory: Path, num_rounds: int) -> dict[str, Any]:
    """Do the trials in a directory that is ours alone, and report them."""
    from experiments.sweeps.report import report
    from experiments.sweeps.trials import Sweep  # Optuna is an extra

    followed = follow(command.command, num_rounds, command.stage)
    sweep = Sweep(command, directory, followed)
    sweep.run()
    return report(sweep.study, command, directory, followed)
