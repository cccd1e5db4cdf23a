"""Optuna's side of a sweep: what is tried next does not depend on when the sweep was interrupted."""

import pytest

from experiments.sweeps.settings import SweepCommand
from experiments.sweeps.space import ParameterSpace

optuna = pytest.importorskip("optuna")

from experiments.sweeps.study import Trials, create_pruner, open_study  # noqa: E402  (after optuna was found)

RATES = ParameterSpace(low=1e-5, high=1.0, log=True)


def searching(**options) -> SweepCommand:
    return SweepCommand(command="train", parameters={"optimizer.lr": RATES}, **options)


def test_pruners_have_the_settings():
    study = optuna.create_study(direction="maximize")
    median = create_pruner(searching(pruner="median", startup_trials=1, warmup_epochs=2))
    for accuracies in ([0.5] * 4, [0.1] * 4):
        trial = study.ask()
        verdicts = []
        for epoch, accuracy in enumerate(accuracies):
            trial.report(accuracy, epoch)
            verdicts.append(median.prune(study, study.trials[trial.number]))
        study.tell(trial, accuracies[-1])
    assert verdicts == [False, False, True, True]
    assert isinstance(create_pruner(searching(pruner="hyperband")), optuna.pruners.HyperbandPruner)
    assert isinstance(create_pruner(searching(pruner="none")), optuna.pruners.NopPruner)


def test_more_trials_go_on_where_fewer_ended(tmp_path):
    spaces = {"optimizer.lr": RATES, "label_smoothing": ParameterSpace(low=0.0, high=0.5, step=0.1)}
    options = {"command": "train", "parameters": spaces, "seed": 3, "wandb": "off"}
    chosen = {}
    for name, numbers in {"at_once": (14,), "in_two": (12, 14)}.items():
        directory = tmp_path / name
        directory.mkdir()
        for num_trials in numbers:
            command = SweepCommand(num_trials=num_trials, **options)
            study = open_study(command, directory)
            trials = Trials(study, command)
            while (trial := trials.begin()) is not None:
                study.tell(trial, float(trials.choose(trial)["optimizer.lr"]))
        chosen[name] = [trial.params for trial in study.trials]
    assert chosen["at_once"] == chosen["in_two"]
    assert len({trial["optimizer.lr"] for trial in chosen["at_once"]}) == 14


def test_a_trial_killed_before_its_choice_makes_the_same(tmp_path):
    command = SweepCommand(command="train", parameters={"optimizer.lr": RATES}, num_trials=1)
    trials = Trials(open_study(command, tmp_path), command)
    expected = trials.choose(trials.begin())
    (tmp_path / "again").mkdir()
    assert Trials(open_study(command, tmp_path / "again"), command).begin() is not None  # and here it is killed
    again = Trials(open_study(command, tmp_path / "again"), command)
    (trial,) = again.interrupted
    assert (trial.number, again.choose(trial)) == (0, expected)
    assert again.begin() is None


def test_another_seed_tries_others(tmp_path):
    chosen = []
    for seed in (0, 1):
        command = SweepCommand(command="train", parameters={"optimizer.lr": RATES}, seed=seed, method="random")
        (tmp_path / str(seed)).mkdir()
        trials = Trials(open_study(command, tmp_path / str(seed)), command)
        chosen.append(trials.choose(trials.begin()))
    assert chosen[0] != chosen[1]
