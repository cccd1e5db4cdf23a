"""SVHN: 73,257 + 26,032 colour images of 32×32, house numbers cropped to one digit."""

from pathlib import Path

import torch
from torch import Tensor

from datamodules.sources.in_memory import DEFAULT_ROOT, in_memory_source, read_published
from datamodules.sources.source import Source

CITATION = (
    "Netzer, Y., Wang, T., Coates, A., Bissacco, A., Wu, B. and Ng, A. Y. (2011). Reading Digits in Natural Images "
    "with Unsupervised Feature Learning. NIPS Workshop on Deep Learning and Unsupervised Feature Learning."
)


def svhn(root: Path | None = None, download: bool = False) -> Source:
    """Return SVHN from ``root/train_32x32.mat`` and ``root/test_32x32.mat``; the published label 10 is digit 0.

    Raises:
        ValueError: if the files are missing or fail their checksums.
    """
    folder = root or DEFAULT_ROOT
    return in_memory_source(
        "svhn",
        tuple(str(digit) for digit in range(10)),
        CITATION,
        train=read_split(folder, "train", download),
        test=read_split(folder, "test", download),
    )


def read_split(folder: Path, split: str, download: bool) -> tuple[Tensor, Tensor]:
    """Return pixels ``(N, 3, 32, 32)`` and targets ``(N,)``."""
    from torchvision.datasets import SVHN

    dataset = read_published("svhn", folder, lambda: SVHN(str(folder), split=split, download=download))
    return torch.from_numpy(dataset.data).contiguous(), torch.from_numpy(dataset.labels)
