"""Optuna's side of a sweep: which trials there are, and what is tried next."""

from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.trial import TrialState

from experiments.files import as_path, file_digest
from experiments.sweeps.settings import SweepCommand
from experiments.sweeps.space import ParameterSpace, grid


def open_study(command: SweepCommand, directory: Path) -> optuna.Study:
    """Return the study in a sweep's directory, begun if there is none.

    Raises:
        ValueError: it was begun with other settings.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=f"sqlite:///{directory / 'sweep.db'}",
        study_name="sweep",
        direction="minimize" if command.minimizes else "maximize",
        pruner=create_pruner(command),
        load_if_exists=True,
    )
    now = lasting_settings(command)
    begun = study.user_attrs.get("settings")
    if begun is None:
        study.set_user_attr("settings", now)
    else:
        require_same(begun, now, directory)
    return study


def lasting_settings(command: SweepCommand) -> dict[str, Any]:
    """Return the settings that a sweep keeps from its first trial to its last."""
    lasting = {option: getattr(command, option) for option in ("command", "metric", "stage", "method", "seed")}
    experiment = as_path(command.experiment)
    content = None if experiment is None else file_digest(experiment)
    spaces = {f"parameters.{option}": vars(space) for option, space in command.parameters.items()}
    return lasting | {"content of experiment": content} | spaces


def require_same(begun: dict[str, Any], now: dict[str, Any], directory: Path) -> None:
    """Raise a ``ValueError`` that names the first setting other than that a sweep was begun with."""
    for option in sorted(begun.keys() | now.keys()):
        if begun.get(option) != now.get(option):
            raise ValueError(
                f"{option}: got {now.get(option)!r}, but the sweep in {directory} was begun with "
                f"{begun.get(option)!r}; give the sweep another --name, or delete {directory}"
            )


def create_pruner(command: SweepCommand) -> optuna.pruners.BasePruner:
    """Return what decides which trials are hopeless; epochs count from 0."""
    if command.pruner == "median":
        return optuna.pruners.MedianPruner(command.startup_trials, command.warmup_epochs)
    if command.pruner == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=command.warmup_epochs)
    return optuna.pruners.NopPruner()


def create_sampler(command: SweepCommand, number: int) -> optuna.samplers.BaseSampler:
    """Return what chooses the parameters of one trial.

    Its random state is that of (seed, number): one state for all trials would begin anew when a sweep goes on, and
    propose what was tried before.
    """
    seed = int(np.random.SeedSequence((command.seed, number)).generate_state(1)[0])
    return optuna.samplers.TPESampler(seed=seed) if command.method == "tpe" else optuna.samplers.RandomSampler(seed)


def suggest(trial: optuna.Trial, option: str, space: ParameterSpace) -> str:
    """Return a trial's value of an option as the command line has it; once chosen it stays."""
    if space.values is not None:
        return str(trial.suggest_categorical(option, space.texts))
    assert space.low is not None, "a range has two ends"
    assert space.high is not None, "a range has two ends"
    if space.integer:
        step = int(space.step or 1)
        return str(trial.suggest_int(option, int(space.low), int(space.high), step=step, log=space.log))
    return str(trial.suggest_float(option, space.low, space.high, step=space.step, log=space.log))


class Trials:
    """The trials of a sweep: the interrupted ones first, then new ones up to the number that is asked for.

    Args:
        study: Optuna's.
        command: what the user set.

    Attributes:
        interrupted: trials that an earlier call began and did not end.
    """

    def __init__(self, study: optuna.Study, command: SweepCommand) -> None:
        self.study = study
        self.command = command
        self.grid = grid(command.parameters) if command.method == "grid" else None
        self.number = command.num_trials if self.grid is None else min(command.num_trials, len(self.grid))
        unfinished = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        self.interrupted = [optuna.Trial(study, trial._trial_id) for trial in unfinished]

    def begin(self) -> optuna.Trial | None:
        """Return a new trial, ``None`` where there are as many as were asked for."""
        waiting = self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        number = len(self.study.get_trials(deepcopy=False)) - len(waiting)
        if number >= self.number:
            return None
        if self.grid is not None:
            self.study.enqueue_trial(self.grid[number], skip_if_exists=True)
        return self.study.ask()

    def choose(self, trial: optuna.Trial) -> dict[str, str]:
        """Return a trial's options as the command line has them."""
        self.study.sampler = create_sampler(self.command, trial.number)
        return {option: suggest(trial, option, space) for option, space in self.command.parameters.items()}
