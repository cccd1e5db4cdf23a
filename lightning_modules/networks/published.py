"""What others have published of a network: its weights, and what they expect of images."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import torch
from huggingface_hub import constants
from torch import Tensor

OLD_DENSENET_KEY = re.compile(r"(.*denselayer\d+\.(?:norm|conv))\.([12]\..+)")
PATIENCE = 3.0
"""Seconds that a host has to answer before it counts as out of reach."""


@dataclass(frozen=True)
class Published:
    """What a network's published weights were trained on.

    Attributes:
        mean: per channel of RGB, in units of ``[0, 1]``.
        std: likewise.
        input_size: side of the images in pixels, ``None`` where nothing is published.
    """

    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.5,)
    input_size: int | None = None


def reaches(address: str) -> bool:
    """Return whether the host of an ``https`` address answers within ``PATIENCE`` seconds, with whatever it says."""
    try:
        urlopen(Request(address, method="HEAD"), timeout=PATIENCE).close()
    except HTTPError:
        return True
    except (URLError, OSError):
        return False
    return True


@contextmanager
def hub_without_retries(repository: str) -> Iterator[None]:
    """Let the Hugging Face hub look only into its cache where it cannot be reached: else it retries for 47 seconds."""
    offline = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = offline or not reaches(f"{constants.ENDPOINT}/{repository}")
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = offline


def require_reachable(name: str, address: str) -> None:
    """Raise a ``ValueError`` at once where a file of torch's hub is neither in its cache nor within reach."""
    cached = Path(torch.hub.get_dir()) / "checkpoints" / address.rsplit("/", 1)[-1]
    if not cached.is_file() and not reaches(address):
        raise cannot_be_had(name, f"{address} does not answer, and {cached} is not there")


def current_keys(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights by the names of today: torchvision's files of DenseNet say ``norm.1`` for ``norm1``."""
    return {OLD_DENSENET_KEY.sub(r"\1\2", key): value for key, value in weights.items()}


def cannot_be_had(name: str, reason: str) -> ValueError:
    """Return the error that says why published weights cannot be had, and what to do."""
    return ValueError(
        f"pretrained: the weights of {name!r} could not be had ({reason}); "
        "use a checkpoint, which is a local file, or a machine that reaches the hub once"
    )
