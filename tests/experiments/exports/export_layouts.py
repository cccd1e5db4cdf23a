"""Runs as their directories have them, without training."""

import json
from pathlib import Path
from typing import Any

import torch
import yaml

from lightning_modules.checkpoints import AtomicCheckpointIO
from lightning_modules.classification import ClassificationModule
from lightning_modules.networks import Network, create_network

DIGITS = tuple(map(str, range(10)))
METRICS = {"val/accuracy": 0.75, "val/loss": 0.5, "test/accuracy": 0.7, "test/f1": 0.6875, "test/loss": 0.625}


def save(path: Path, name: str = "cnn_tiny", num_channels: int = 1, class_names=DIGITS, **options: Any) -> Network:
    """Write a checkpoint of an untrained network for 10 classes and return the network."""
    torch.manual_seed(1)
    network = create_network(name, num_classes=10, num_channels=num_channels, **options).eval()
    module = ClassificationModule(network, 10)
    content = {"state_dict": module.state_dict()} | ({"class_names": list(class_names)} if class_names else {})
    module.on_save_checkpoint(content)
    AtomicCheckpointIO().save_checkpoint(content, path)
    return network


def write_run(directory: Path, stages: dict[str, dict[str, Any]], config: dict[str, Any] | None = None) -> list[Path]:
    """Write a run on digits and return the checkpoints of its stages, whose settings are given."""
    records, checkpoints = {}, []
    for number, (stage, settings) in enumerate(stages.items()):
        folder = directory / "stages" / f"{number}-{stage}"
        checkpoints.append(folder / "checkpoints" / "best.ckpt")
        save(checkpoints[-1])
        path = str(checkpoints[-1].relative_to(directory))
        records[stage] = {"parameters": 1946, "metrics": METRICS, "checkpoint": path, "num_images": {"labeled": 100}}
        (folder / "settings.json").write_text(json.dumps(settings))
        (folder / "stage.json").write_text(json.dumps(records[stage]))
    config = {"seed": 3, "data": {"source": "digits", "labels_per_class": 10}} | (config or {})
    (directory / "config.yaml").write_text(yaml.safe_dump(config))
    results = {"command": "train", "name": directory.name, "seed": 3, "versions": {"torch": "9"}, "stages": records}
    (directory / "results.json").write_text(json.dumps(results))
    return checkpoints
