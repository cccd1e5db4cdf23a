"""Sweeps of W&B: what an agent types is our command line, its trial's run has the metric; offline runs are uploaded."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.command_line import main, parse
from experiments.sweeps import wandb_trial
from tests.conftest import ROOT
from tests.experiments.sweeps import stand_in
from tests.experiments.test_tracking import inspect

wandb = pytest.importorskip("wandb")

from wandb.sdk.launch.sweeps import utils as agent  # noqa: E402  (after wandb was found)

pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # files that wandb read

SWEEPS = sorted((ROOT / "experiments" / "configs" / "sweeps").glob("*_wandb.yaml"))


def edges(parameters: dict) -> list[dict]:
    """Return choices as a server sends them: every value of each parameter, or both ends of its range."""
    values = {name: known.get("values") or [known["min"], known["max"]] for name, known in parameters.items()}
    first = {name: choices[0] for name, choices in values.items()}
    return [first, *(first | {name: choice} for name, choices in values.items() for choice in choices[1:])]


def typed(sweep: dict, choice: dict) -> list[str]:
    """Return the command that wandb's agent makes of a choice."""
    macros = agent.create_sweep_command_args({"args": {name: {"value": value} for name, value in choice.items()}})
    macros |= {"env": ["/usr/bin/env"], "interpreter": ["python"], "program": [sweep["program"]]}
    command = agent.create_sweep_command(sweep["command"])
    return [part for word in command for part in (macros[word[2:-1]] if word.startswith("${") else [word])]


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_what_an_agent_types_is_our_command_line(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    sweep = agent.load_sweep_config(str(path))
    assert all(heading in path.read_text() for heading in ("# Shows:", "# Run:", "# Reached:"))
    assert sweep["metric"] == {"name": "val/accuracy", "goal": "maximize"}  # as every stage logs it
    assert (ROOT / sweep["program"]).samefile(wandb_trial.__file__)
    for choice in edges(sweep["parameters"]):
        words = typed(sweep, choice)
        assert words[:4] == ["/usr/bin/env", "python", "-m", "experiments.sweeps.wandb_trial"]
        settings = parse(words[4], words[5:], wandb_trial.TRIALS)[0]
        for option, value in choice.items():
            given = settings
            for name in option.split("."):
                given = getattr(given, name)
            assert given == value


@pytest.fixture
def of_agent(tmp_path, monkeypatch) -> Path:
    """Where an agent has started this process, without a network, and a run is the stand-in."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiments").mkdir()
    shutil.copy(stand_in.__file__, tmp_path / "experiments" / "__main__.py")
    (tmp_path / "chosen.yaml").write_text("wandb_version: 1\noptimizer.lr:\n  value: 0.01\n")
    for name, value in {
        "WANDB_RUN_ID": "run1",
        "WANDB_SWEEP_ID": "sweep1",
        "WANDB_SWEEP_PARAM_PATH": str(tmp_path / "chosen.yaml"),
        "WANDB_MODE": "offline",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(wandb_trial, "LOOK_SECONDS", 0.05)
    wandb.teardown()  # which reads the variables anew
    yield tmp_path / "runs" / "sweep-sweep1"
    wandb.teardown()


def test_a_trial_has_one_run_with_its_options_and_metric(of_agent):
    assert main(["train", "--optimizer.lr=0.01"], wandb_trial.TRIALS) == 0
    assert not {"WANDB_RUN_ID", "WANDB_SWEEP_ID"} & os.environ.keys()  # or the stages' runs would join it
    assert (of_agent / "run1" / "results.json").exists()
    (run,) = (of_agent / "wandb").glob("offline-run-*-run1")
    records = inspect(run)
    history = [json.dumps(record) for record in records if record["type"] == "history"]
    assert len(history) == stand_in.EPOCHS + 1
    assert all("val/accuracy" in step and "test/" not in step for step in history)
    written = json.dumps(records)
    assert "optimizer.lr" in written
    assert "sweep1" in written


def test_a_trial_that_fails_says_why(of_agent, capsys):
    assert main(["train", "--optimizer.lr=2"], wandb_trial.TRIALS) == 1
    assert "run1 ended with exit status 1: the loss exploded" in capsys.readouterr().err


def test_a_trial_without_an_agent_is_refused(monkeypatch, capsys):
    monkeypatch.delenv("WANDB_RUN_ID", raising=False)
    monkeypatch.delenv("WANDB_SWEEP_ID", raising=False)
    assert main(["train"], wandb_trial.TRIALS) == 2
    assert "WANDB_SWEEP_ID: got none, expected what 'wandb agent' sets" in capsys.readouterr().err


def test_settings_pass_to_the_run_as_they_are(of_agent, monkeypatch):
    passed = []
    monkeypatch.setattr(wandb_trial, "track", lambda launch, directory, followed: passed.append(launch))
    options = ["--optimizer.lr=1e-05", "--data.augmentation.scale=[0.9,1.1]", "--data.classes=1,2", "--seed=3"]
    assert main(["train", *options], wandb_trial.TRIALS) == 0
    command, *rest = passed[0].arguments
    settings = parse(command, rest)[0]
    assert (settings.optimizer.lr, settings.data.augmentation.scale, settings.seed) == (1e-5, (0.9, 1.1), 3)
    assert settings.data.classes == ["1", "2"]
    assert (settings.output, settings.name) == ("runs/sweep-sweep1", "run1")


def recipe_of_sync() -> str:
    lines = (ROOT / "Makefile").read_text().splitlines()
    (line,) = (line for line in lines if "wandb sync" in line)
    bin_directory = shlex.quote(str(Path(sys.executable).parent))
    return line.strip().removeprefix("@").replace("$(BIN)", bin_directory)


def test_sync_lists_every_offline_run_without_a_network(tmp_path, monkeypatch):
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("runs/digits", "runs/sweep/trial-0"):
        (tmp_path / name).mkdir(parents=True)
        wandb.init(mode="offline", dir=str(tmp_path / name), id=f"id-{Path(name).name}", settings={"silent": True})
        wandb.finish()
    options = {"shell": True, "cwd": tmp_path, "capture_output": True, "text": True, "timeout": 120, "check": False}
    listed = subprocess.run(recipe_of_sync().replace("$(ARGS)", "--dry-run"), **options)
    assert listed.returncode == 0, listed.stderr
    assert "Would sync 2 run(s)" in listed.stderr
    assert "id-digits" in listed.stderr
    assert "id-trial-0" in listed.stderr
    refused = subprocess.run(recipe_of_sync().replace("$(ARGS)", ""), stdin=subprocess.DEVNULL, **options)
    assert refused.returncode != 0
    assert "No API key configured. Use `wandb login` to log in." in refused.stderr
    assert "Traceback" not in refused.stderr
