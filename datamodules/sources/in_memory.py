"""Building a source from published arrays that fit in memory."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from urllib.error import URLError

import torch
from torch import Tensor

from datamodules.sources.source import PixelArray, Samples, Source
from datamodules.sources.statistics import channel_statistics

DEFAULT_ROOT = Path("data")
"""Where published files are looked for, and downloaded to, without ``--data.root``."""

Read = TypeVar("Read")


def in_memory_source(
    name: str,
    class_names: tuple[str, ...],
    citation: str,
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    unlabeled: Tensor | None = None,
) -> Source:
    """Return a source whose ids count through train, test and unlabelled images in their published order.

    Args:
        name: the source's name.
        class_names: ``K`` names in the order of the class indices.
        citation: author, year and title.
        train: pixels ``(N, C, H, W)`` uint8 and targets ``(N,)``.
        test: likewise.
        unlabeled: pixels ``(U, C, H, W)`` uint8.

    Raises:
        ValueError: if pixels and targets do not fit each other or the classes.
    """
    for split, (pixels, targets) in {"train": train, "test": test}.items():
        check_split(f"{name}, {split}", pixels, targets, len(class_names))
    num_labeled = len(train[0]) + len(test[0])
    train_samples = samples_of(*train, first_id=0)
    mean, std = channel_statistics(train_samples)
    return Source(
        name=name,
        class_names=class_names,
        citation=citation,
        train=train_samples,
        test=samples_of(*test, first_id=len(train[0])),
        unlabeled=None if unlabeled is None else samples_of(unlabeled, None, first_id=num_labeled),
        mean=mean,
        std=std,
    )


def samples_of(pixels: Tensor, targets: Tensor | None, first_id: int) -> Samples:
    """Return all rows of ``pixels (N, C, H, W)`` as samples whose ids count on from ``first_id``."""
    rows = torch.arange(len(pixels))
    labels = torch.full_like(rows, -1) if targets is None else targets.long()
    return Samples(PixelArray(pixels), rows, rows + first_id, labels)


def check_split(what: str, pixels: Tensor, targets: Tensor, num_classes: int) -> None:
    """Raise ``ValueError`` unless there is one target in ``0..num_classes-1`` for each image, and an image."""
    in_range = len(targets) > 0 and int(targets.min()) >= 0 and int(targets.max()) < num_classes
    if len(pixels) != len(targets) or not in_range:
        raise ValueError(
            f"{what}: {len(pixels)} images and {len(targets)} labels, expected as many of both, at least one, and "
            f"labels in 0..{num_classes - 1}; the files are damaged: fetch them again (--data.download true)"
        )


def read_published(name: str, folder: Path, read: Callable[[], Read]) -> Read:
    """Return what torchvision's reader reads, its failures told in the words of our options.

    Raises:
        ValueError: naming the source, the folder and the remedy, if files are missing, damaged or out of reach.
    """
    try:
        return read()
    except (RuntimeError, OSError, URLError) as error:
        raise missing_data(name, [folder], f"({error})") from error


def missing_data(name: str, looked_in: list[Path], detail: str = "") -> ValueError:
    """Return the error that says where a source's files were looked for and what to do."""
    places = ", ".join(str(place) for place in looked_in)
    return ValueError(
        f"--data.source {name}: its published files are not (or not whole) in {places} {detail}".rstrip()
        + "; name the folder that holds them with --data.root, or fetch them with --data.download true"
    )
