"""STL-10: 5,000 + 8,000 labelled and 100,000 unlabelled colour images of 96×96."""

from pathlib import Path

import torch
from torch import Tensor

from datamodules.sources.in_memory import DEFAULT_ROOT, in_memory_source, missing_data, read_published
from datamodules.sources.source import Source

CITATION = (
    "Coates, A., Lee, H. and Ng, A. Y. (2011). An Analysis of Single-Layer Networks in Unsupervised Feature "
    "Learning. AISTATS."
)
CLASS_NAMES = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")
FOLDER = "stl10_binary"
FILES = ("train_X.bin", "train_y.bin", "test_X.bin", "test_y.bin", "unlabeled_X.bin")
IMAGE_SHAPE = (3, 96, 96)


def stl10(root: Path | None = None, download: bool = False) -> Source:
    """Return STL-10 from ``root/stl10_binary``, the unlabelled images as the pool.

    The pixels (3.1 GB) stay in their files, mapped into memory: every process reads the same pages, and nothing is
    read before it is used.

    Raises:
        ValueError: if the files are missing or cut off.
    """
    top = root or DEFAULT_ROOT
    folder = top / FOLDER
    if download and not all((folder / file).exists() for file in FILES):
        from torchvision.datasets import STL10

        read_published("stl10", folder, lambda: STL10(str(top), split="test", download=True))
    absent = [file for file in FILES if not (folder / file).exists()]
    if absent:
        raise missing_data("stl10", [folder], f"(absent: {', '.join(absent)})")
    return in_memory_source(
        "stl10",
        CLASS_NAMES,
        CITATION,
        train=(map_images(folder / "train_X.bin"), read_labels(folder / "train_y.bin")),
        test=(map_images(folder / "test_X.bin"), read_labels(folder / "test_y.bin")),
        unlabeled=map_images(folder / "unlabeled_X.bin"),
    )


def map_images(path: Path) -> Tensor:
    """Return the pixels ``(N, 3, 96, 96)`` of a file, which holds them column by column."""
    size, image_size = path.stat().st_size, torch.Size(IMAGE_SHAPE).numel()
    if size == 0 or size % image_size:
        raise ValueError(
            f"--data.root: {path} has {size} bytes, expected a multiple of {image_size} (one 3x96x96 image); it is "
            "cut off: remove it and fetch it again (--data.download true)"
        )
    stored = torch.from_file(str(path), shared=False, size=size, dtype=torch.uint8)
    return stored.view(-1, *IMAGE_SHAPE).transpose(2, 3)


def read_labels(path: Path) -> Tensor:
    """Return the targets ``(N,)``, counted from 0 (from 1 in the file)."""
    return torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8).long() - 1
