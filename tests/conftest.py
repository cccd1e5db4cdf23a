"""What many tests need: a small source, quick trainers, the command line as a subprocess."""

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Trainer

from datamodules.sources.source import PixelArray, Samples, Source

ROOT = Path(__file__).parent.parent

if "PYTEST_XDIST_WORKER" in os.environ:  # workers with a thread for every core would wait for each other
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _quiet_and_seeded(monkeypatch: pytest.MonkeyPatch) -> None:
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _no_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the reports at the ends of runs, each of which takes seconds; commands as subprocesses write theirs."""
    monkeypatch.setattr("experiments.run.write_report", lambda directories, output: output / "report.html")


def make_source(num_train: int = 60, num_test: int = 13, num_classes: int = 3, size: int = 8) -> Source:
    """Return grey images whose class is the third of the image that is bright, with noise."""
    generator = torch.Generator().manual_seed(0)
    number = num_train + num_test
    targets = torch.arange(number) % num_classes
    pixels = torch.randint(0, 100, (number, 1, size, size), generator=generator)
    for label in range(num_classes):
        rows = slice(label * size // num_classes, (label + 1) * size // num_classes)
        pixels[targets == label, :, rows] += 120
    everything = Samples(PixelArray(pixels.to(torch.uint8)), torch.arange(number), 1000 + torch.arange(number), targets)
    return Source(
        name="stripes",
        class_names=tuple(f"stripe {label}" for label in range(num_classes)),
        citation="made for these tests",
        train=everything.select(torch.arange(num_train)),
        test=everything.select(torch.arange(num_train, number)),
        mean=(0.35,),
        std=(0.25,),
    )


@pytest.fixture
def source() -> Source:
    return make_source()


@pytest.fixture
def make_trainer(tmp_path: Path) -> Callable[..., Trainer]:
    """Return a maker of silent CPU trainers; keyword arguments go to Lightning's Trainer."""

    def make(**options: Any) -> Trainer:
        defaults: dict[str, Any] = {
            "accelerator": "cpu",
            "max_epochs": 1,
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "num_sanity_val_steps": 0,
            "default_root_dir": tmp_path,
        }
        return Trainer(**(defaults | options))

    return make


def run_command(*arguments: object, timeout: float = 120, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``python -m experiments`` with the arguments, in the repository."""
    return subprocess.run(
        [sys.executable, "-m", "experiments", *map(str, arguments)],
        cwd=ROOT,
        env=clean_environment() | environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def clean_environment() -> dict[str, str]:
    """Return the environment without what a surrounding distributed run or a W&B login would add."""
    dropped = ("WANDB_", "LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_")
    return {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
