"""What the record of every stage says of the network, the images and the machine."""

import os
import subprocess
from functools import cache
from pathlib import Path

import torch
from lightning import Trainer

from datamodules.batch import unit_interval
from datamodules.labeled import LabeledDataModule
from datamodules.two_streams import TwoStreamDataModule
from experiments.latency import measure_latency
from experiments.stage import Record
from lightning_modules.networks import count_parameters
from lightning_modules.student import StudentModule


def describe(
    module: StudentModule, trainer: Trainer, metrics: dict[str, float], data: LabeledDataModule | TwoStreamDataModule
) -> Record:
    """Return what every record holds: the network's size and speed, the images, where it ran, its metrics."""
    device = trainer.strategy.root_device
    pixels, _ = data.test.read(torch.zeros(1, dtype=torch.int64))
    network = module.network.to(device)
    latency = measure_latency(network, unit_interval(pixels.to(device))) if len(pixels) else None
    return {
        "parameters": count_parameters(network),
        "latency_ms": None if latency is None else round(latency, 4),
        "num_images": data.num_images,
        "device": describe_device(device),
        "commit": commit(),
        "processes": trainer.world_size,
        "metrics": metrics,
    }


@cache
def commit() -> str | None:
    """Return the commit of this code, with ``+`` where files were changed since; ``None`` outside a repository."""
    root = Path(__file__).parent.parent
    answers = []
    for command in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"]):
        try:
            done = subprocess.run(["git", *command], cwd=root, capture_output=True, text=True, timeout=10, check=True)
        except (OSError, subprocess.SubprocessError):
            return None
        answers.append(done.stdout.strip())
    return answers[0] + ("+" if answers[1] else "")


def describe_device(device: torch.device) -> str:
    """Return the device's name: ``cpu`` with its number of cores, or the GPU's model."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({os.cpu_count()} cores)" if device.type == "cpu" else device.type
