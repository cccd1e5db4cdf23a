"""Checkpoint files: written whole or not at all, read without executing anything."""

import os
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import nn

from lightning_modules.networks import Network, create_network
from lightning_modules.networks.registry import per_channel

PREFIX = "network."
"""Where the student's weights stand in a checkpoint's state dict."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes to a temporary file in the same directory, flushes it to disk, then renames it."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write ``checkpoint`` to ``path``; whatever stood there stays until the new file is complete."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            with temporary.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)

    def load_checkpoint(self, path: str | Path, map_location: Any = None, weights_only: Any = None) -> dict[str, Any]:
        """Read ``path`` as ``load_checkpoint`` does."""
        return load_checkpoint(path)


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU: tensors and plain values only, every byte checked against its checksum.

    Raises:
        ValueError: the file is missing, truncated, damaged, or holds something other than tensors and plain
            values; the message names the file.
    """
    path = Path(path)
    if not path.is_file():
        expected = "expected a file such as stages/K-STAGE/checkpoints/best.ckpt below a run's directory"
        raise ValueError(
            f"checkpoint {path}: {'this is a directory' if path.is_dir() else 'there is no such file'}; {expected}"
        )
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except Exception as error:  # damage shows as many kinds of error
        raise ValueError(
            f"checkpoint {path}: not a complete PyTorch checkpoint ({error}); the file is truncated or of another kind"
        ) from error
    if damaged is not None:
        raise ValueError(f"checkpoint {path}: damaged, the checksum of {damaged!r} does not match")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(
            f"checkpoint {path}: holds more than tensors and plain values, or is of another kind; nothing of it was "
            f"executed ({str(error).splitlines()[0]})"
        ) from error
    if not isinstance(checkpoint, dict):
        raise ValueError(f"checkpoint {path}: expected a dictionary, it holds a {type(checkpoint).__name__}")
    return checkpoint


def load_network(path: str | Path, network: nn.Module | None = None) -> nn.Module:
    """Return the trained network of one of our checkpoints.

    Args:
        path: a checkpoint written while one of our modules was fitted.
        network: the network whose weights it holds; needed only where it did not come from the registry.

    Raises:
        ValueError: the file cannot be read, is no checkpoint of ours, or does not fit ``network``.
    """
    checkpoint = load_checkpoint(path)
    state = checkpoint.get("state_dict")
    if not isinstance(state, dict) or not any(key.startswith(PREFIX) for key in state):
        raise ValueError(
            f"checkpoint {path}: expected one that this project wrote, with weights named {PREFIX}*; "
            f"it holds {', '.join(sorted(map(str, checkpoint))[:4]) or 'nothing'}"
        )
    network = network or build_from_spec(checkpoint, path)
    weights = {key.removeprefix(PREFIX): value for key, value in state.items() if key.startswith(PREFIX)}
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"checkpoint {path}: its weights do not fit the network ({error})") from error
    return network


def build_from_spec(checkpoint: dict[str, Any], path: str | Path) -> Network:
    """Build the untrained network that a checkpoint describes."""
    spec = checkpoint.get("network")
    if spec is None:
        raise ValueError(
            f"checkpoint {path}: its network did not come from create_network, so it cannot be built from the file; "
            "build the network yourself and call load_network(path, network)"
        )
    return rebuild(spec)


def rebuild(spec: dict[str, Any], **changes: Any) -> Network:
    """Build the untrained network that a checkpoint's ``NetworkSpec`` describes, with some arguments changed.

    For another number of channels each takes the average of the mean and standard deviation.
    """
    described = {name: value for name, value in spec.items() if name != "options"}
    # A spec names its stem only where it is the small one.
    arguments = described | {"stem": "standard"} | spec["options"] | changes
    for values in ("mean", "std"):
        arguments[values] = per_channel(arguments[values], arguments["num_channels"])
    return create_network(**arguments)
