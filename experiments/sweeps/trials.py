"""A sweep's trials: runs in processes of their own, some at a time, watched epoch by epoch."""

import math
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.trial import TrialState

from experiments.files import read_json
from experiments.launching import Launch, last_words, start, stop
from experiments.locking import is_locked
from experiments.sweeps.following import LOOK_SECONDS, Followed
from experiments.sweeps.settings import SweepCommand
from experiments.sweeps.study import Trials, open_study


@dataclass
class RunningTrial:
    """A trial whose run goes on.

    Attributes:
        trial: Optuna's.
        process: its run.
        directory: of its run.
        num_reported: epochs that Optuna knows, of which a resumed trial has some.
        begun: when the process was, in seconds of the monotonic clock.
    """

    trial: optuna.Trial
    process: subprocess.Popen[bytes]
    directory: Path
    num_reported: int
    begun: float


class Sweep:
    """The trials of a sweep, some at a time.

    Args:
        command: what the user set.
        directory: of the sweep.
        followed: what is looked at in a trial's run.
    """

    def __init__(self, command: SweepCommand, directory: Path, followed: Followed) -> None:
        self.command = command
        self.directory = directory
        self.followed = followed
        self.study = open_study(command, directory)
        self.trials = Trials(self.study, command)
        self.running: list[RunningTrial] = []

    def run(self) -> None:
        """Do the trials; on the way out, however that comes, end those that run, to be resumed by the next call."""
        for trial in self.trials.interrupted:
            state = "its run goes on, and is waited for" if is_locked(self._log(trial.number)) else "it resumes"
            print(f"trial {trial.number} was interrupted: {state}", flush=True)
        try:
            while True:
                self._begin()
                if not self.running and not self.trials.interrupted:
                    return
                time.sleep(LOOK_SECONDS)
                for running in list(self.running):
                    self._look_at(running)
        finally:
            for running in self.running:
                stop(running.process)

    def _begin(self) -> None:
        """Begin as many trials as may run at a time."""
        while len(self.running) < self.command.jobs:
            trial = self._next()
            if trial is None:
                return
            chosen = self.trials.choose(trial)
            print(
                f"trial {trial.number}: {', '.join(f'{option} {text}' for option, text in chosen.items())}", flush=True
            )
            options = [*self.command.options(chosen), *self._own_options(trial.number)]
            launch = Launch(f"trial-{trial.number}", [self.command.command, *options], self._log(trial.number))
            process = start(launch, self.command.jobs)
            num_reported = len(self.study.trials[trial.number].intermediate_values)
            directory = self.directory / f"trial-{trial.number}"
            self.running.append(RunningTrial(trial, process, directory, num_reported, time.monotonic()))

    def _next(self) -> optuna.Trial | None:
        """Return a trial to begin, an interrupted one first, unless its run outlived the call that began it."""
        for trial in self.trials.interrupted:
            if not is_locked(self._log(trial.number)):
                self.trials.interrupted.remove(trial)
                return trial
        return self.trials.begin()

    def _own_options(self, number: int) -> list[str]:
        own = {"output": self.directory, "name": f"trial-{number}", "wandb": self.command.wandb}
        return [*(f"--{option}={value}" for option, value in own.items()), "--trainer.enable_progress_bar=false"]

    def _log(self, number: int) -> Path:
        return self.directory / f"trial-{number}.log"

    def _look_at(self, running: RunningTrial) -> None:
        """Report a trial's new epochs, end it where they are hopeless, and take its value where it has ended."""
        status = running.process.poll()
        try:
            if self._is_hopeless(running):
                self._end(running, TrialState.PRUNED)
            elif status == 0:
                self._end(running, TrialState.COMPLETE, value=self._value(running))
            elif status is not None:
                words = last_words(self._log(running.trial.number))
                self._end(running, TrialState.FAIL, error=f"exit status {status}: {words}")
        except ValueError as error:
            self._end(running, TrialState.FAIL, error=str(error))

    def _is_hopeless(self, running: RunningTrial) -> bool:
        """Report the epochs that are new; return whether the trial is to be pruned at one of them, or was to be.

        That depends on the values alone: a trial that has ended by now is pruned all the same.
        """
        for epoch in self.followed.epochs(running.directory)[running.num_reported :]:
            if running.trial.should_prune():
                return True
            running.trial.report(self._metric(epoch), running.num_reported)
            running.num_reported += 1
        return bool(running.trial.should_prune())

    def _value(self, running: RunningTrial) -> float:
        results = read_json(running.directory / "results.json")
        if results is None:
            raise ValueError(f"{running.directory}: expected results.json of a run that ended well, there is none")
        return self._metric(self.followed.reached(results))

    def _metric(self, metrics: dict[str, float]) -> float:
        """Return the metric that is searched for.

        Raises:
            ValueError: there is none, or it is no finite number.
        """
        name, known = self.command.metric, ", ".join(sorted(name for name in metrics if name.startswith("val/")))
        value = metrics.get(name)
        if value is None or not math.isfinite(value):
            raise ValueError(f"metric: {name} is {value}, expected a finite number; the metrics are {known or 'none'}")
        return value

    def _end(
        self, running: RunningTrial, state: TrialState, value: float | None = None, error: str | None = None
    ) -> None:
        stop(running.process)
        self.running.remove(running)
        running.trial.set_user_attr("seconds", round(time.monotonic() - running.begun, 1))
        if error is not None:
            running.trial.set_user_attr("error", error)
        self.study.tell(running.trial, value, state)
        outcome = f"{self.command.metric} {value:.4f}" if value is not None else error or "hopeless, ended"
        print(f"trial {running.trial.number}: {outcome}", flush=True)
