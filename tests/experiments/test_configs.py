"""Every experiment file is a lab note that runs."""

import dataclasses
import re
from pathlib import Path

import pytest

from datamodules.sources.mnist import DEBIAN_FASHION_MNIST
from experiments.command_line import carry_out, parse
from experiments.comparisons.command import plan
from experiments.comparisons.settings import CompareCommand
from experiments.settings import DataSettings

CONFIGS = sorted((Path(__file__).parents[2] / "experiments" / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_it_says_what_it_shows_and_trains_a_step(path, tmp_path):
    text = path.read_text()
    for heading in ("# Shows:", "# Run:", "# Reached:"):
        assert heading in text, f"{path.name} lacks {heading!r}"
    make_target = re.search(r"# Run: +make (\w[\w-]*)", text)
    assert make_target, f"{path.name} names no make target"
    makefile = (Path(__file__).parents[2] / "Makefile").read_text()
    command = re.search(rf"experiments ([\w-]+) --config experiments/configs/{path.name}", makefile)
    assert command, f"no target of the Makefile runs {path.name}"

    if "source: fashion_mnist" in text and not DEBIAN_FASHION_MNIST.is_dir():
        pytest.skip("apt-get install dataset-fashion-mnist")
    settings, _ = parse(command[1], ["--config", str(path), "--output", str(tmp_path), "--wandb", "off"])
    if isinstance(settings, CompareCommand):  # a run of each setting
        for run in plan(dataclasses.replace(settings, seeds=settings.seeds[:1])):
            train_a_step(run.command, run.settings)
    else:
        train_a_step(command[1], settings)


def train_a_step(command, settings):
    """Run a command for a step of each of its trainings."""
    short = {"max_epochs": 1, "check_val_every_n_epoch": 1, "accelerator": "cpu", "enable_progress_bar": False}
    trainer = dataclasses.replace(settings.trainer, **short)
    data: DataSettings = dataclasses.replace(settings.data, steps_per_epoch=1)
    if data.source == "digit_scenes":
        data = dataclasses.replace(data, num_scenes=80, num_validation=10)
    if data.source == "fashion_mnist":
        data = dataclasses.replace(data, classes=[0, 1], num_validation=50)
    changes = {"trainer": trainer, "data": data}
    for option in ("optimizer", "teacher", "round"):  # one step is no warm-up
        if hasattr(settings, option):
            changes[option] = without_warmup(getattr(settings, option))
    if "teacher" in changes:
        changes["teacher"] = dataclasses.replace(changes["teacher"], max_epochs=1)
    if "round" in changes:  # after a single step a teacher says one class, and of none it is sure
        changes["teacher"] = dataclasses.replace(changes["teacher"], max_epochs=10, ema_decay=None)
        pseudo_labels = dataclasses.replace(settings.round.pseudo_labels, confidence_threshold=0.0)
        changes["round"] = dataclasses.replace(changes["round"], pseudo_labels=pseudo_labels)
    assert carry_out(command, dataclasses.replace(settings, **changes), debug=True) == 0
    assert (Path(settings.output) / settings.name / "results.json").exists()


def without_warmup(settings):
    """Return an optimizer's settings, or those of a network and its optimizer, without warm-up."""
    if hasattr(settings, "optimizer"):
        return dataclasses.replace(settings, optimizer=without_warmup(settings.optimizer))
    return dataclasses.replace(settings, warmup_steps=0)
