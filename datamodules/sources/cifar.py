"""CIFAR-10 and CIFAR-100: 50,000 + 10,000 colour images of 32×32."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from datamodules.sources.in_memory import DEFAULT_ROOT, in_memory_source, read_published
from datamodules.sources.source import Source

CITATION = (
    "Krizhevsky, A. (2009). Learning Multiple Layers of Features from Tiny Images. Technical report, "
    "University of Toronto."
)


def cifar10(root: Path | None = None, download: bool = False) -> Source:
    """Return CIFAR-10 from ``root/cifar-10-batches-py``; the class names are those of its ``batches.meta``.

    Raises:
        ValueError: if the files are missing or fail their checksums.
    """
    from torchvision.datasets import CIFAR10

    return cifar("cifar10", CIFAR10, root or DEFAULT_ROOT, download)


def cifar100(root: Path | None = None, download: bool = False) -> Source:
    """Return CIFAR-100 from ``root/cifar-100-python``, with its 100 fine classes, in alphabetical order.

    Raises:
        ValueError: if the files are missing or fail their checksums.
    """
    from torchvision.datasets import CIFAR100

    return cifar("cifar100", CIFAR100, root or DEFAULT_ROOT, download)


def cifar(name: str, dataset: Any, root: Path, download: bool) -> Source:
    """Return the source that torchvision's ``dataset`` reads."""

    def read(train: bool) -> Any:
        return read_published(
            name, root / dataset.base_folder, lambda: dataset(str(root), train=train, download=download)
        )

    train, test = read(train=True), read(train=False)
    return in_memory_source(
        name, tuple(train.classes), CITATION, train=pixels_and_targets(train), test=pixels_and_targets(test)
    )


def pixels_and_targets(dataset: Any) -> tuple[Tensor, Tensor]:
    """Return pixels ``(N, 3, H, W)`` and targets ``(N,)``; torchvision's array is a view of channels-first bytes."""
    return torch.from_numpy(dataset.data).permute(0, 3, 1, 2).contiguous(), torch.tensor(dataset.targets)
