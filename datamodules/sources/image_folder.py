"""Photographs in folders: ``train/CLASS/*.jpg``, ``val/``, ``test/``, ``unlabeled/``, or listed in a table."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from datamodules.sources.folder_reader import FolderReader, OnBadImage, Reading
from datamodules.sources.listing import fingerprint, image_files, visible_folders
from datamodules.sources.manifest import SplitListing, read_manifest
from datamodules.sources.paths import PathList, check_unique, path_ids
from datamodules.sources.source import Samples, Source
from datamodules.sources.statistics import channel_statistics

SPLIT_FOLDERS = {"train": "train", "validation": "val", "test": "test"}
STATISTICS_SAMPLES = 256
"""Images looked at for mean and standard deviation: decoding thousands would delay every start."""


@dataclass(frozen=True)
class Listed:
    """The files of one split with their targets ``(N,)`` int64."""

    paths: PathList
    targets: Tensor


def image_folder(
    root: Path | None = None,
    manifest: Path | None = None,
    unlabeled: Path | None = None,
    image_size: int = 224,
    crop_scale: tuple[float, float] = (0.08, 1.0),
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3),
    max_pixels: int = 100_000_000,
    on_bad_image: OnBadImage = "raise",
    max_bad_images: int = 100,
    cache: Path | None = None,
    cache_side: int | None = None,
) -> Source:
    """Return the images of a folder; an id is a hash of the path relative to ``root``.

    Classes are the folders in ``train``, sorted by name; hidden folders are none. ``val`` may be missing; the pool is
    ``unlabeled``, or ``root/unlabeled`` where that exists, at any depth.

    Args:
        root: the folder; with a ``manifest``, what its paths are relative to (its own folder if ``None``).
        manifest: a CSV or Parquet table ``path,label,split`` that is read instead of the folders.
        unlabeled: a folder of images without labels.
        image_size: see ``Reading``, as are the options below.
        crop_scale: likewise.
        crop_ratio: likewise.
        max_pixels: likewise.
        on_bad_image: likewise.
        max_bad_images: likewise.
        cache: likewise.
        cache_side: likewise.

    Raises:
        ValueError: if folders, files, labels or splits are missing, unknown or given twice.
    """
    reading = Reading(image_size, crop_scale, crop_ratio, max_pixels, on_bad_image, max_bad_images, cache, cache_side)
    top = find_root(root, manifest)
    class_names, listed = list_manifest(manifest, top) if manifest else list_folders(top)
    listed |= list_pool(top, unlabeled, listed)
    splits = {name: samples_of(top, name, files, reading) for name, files in listed.items()}
    check_unique([(samples.ids, files.paths) for samples, files in zip(splits.values(), listed.values(), strict=True)])
    return source_of(top, class_names, splits)


def source_of(root: Path, class_names: tuple[str, ...], splits: dict[str, Samples]) -> Source:
    """Return the source; its statistics are taken from a few images that do not enter the cache."""
    train = splits["train"]
    assert isinstance(train.reader, FolderReader), "folders are read by FolderReader"
    mean, std = channel_statistics(
        replace(train, reader=replace(train.reader, frames=None, views=None)), STATISTICS_SAMPLES
    )
    return Source(
        name="image_folder",
        class_names=class_names,
        citation=f"Unpublished images in the folder {root.resolve().name}.",
        train=train,
        test=splits["test"],
        validation=splits.get("validation"),
        unlabeled=splits.get("unlabeled"),
        mean=mean,
        std=std,
    )


def samples_of(root: Path, split: str, listed: Listed, reading: Reading) -> Samples:
    """Return the files of a split as samples."""
    cache_name = f"{split}-{fingerprint(root, listed.paths)}" if reading.cache is not None else None
    return Samples(
        reader=FolderReader.of(root, listed.paths, reading, cache_name),
        rows=torch.arange(len(listed.paths)),
        ids=path_ids(listed.paths),
        targets=listed.targets,
        paths=listed.paths,
    )


def find_root(root: Path | None, manifest: Path | None) -> Path:
    """Return the folder that paths are relative to."""
    top = root or (manifest.parent if manifest else None)
    if top is None or not top.is_dir():
        raise ValueError(
            f"--data.root {top}: expected a folder with train/CLASS/*.jpg and test/CLASS/*.jpg, or --data.manifest"
        )
    return top


def list_folders(root: Path) -> tuple[tuple[str, ...], dict[str, Listed]]:
    """Return the classes and the files of the splits that are there."""
    check_layout(root)
    class_names = tuple(visible_folders(root / "train"))
    if not class_names:
        raise ValueError(f"--data.root {root}: train/ has no folders, expected one for each class: train/CLASS/*.jpg")
    folders = {split: folder for split, folder in SPLIT_FOLDERS.items() if (root / folder).is_dir()}
    return class_names, {split: list_split(root, folder, class_names) for split, folder in folders.items()}


def check_layout(root: Path) -> None:
    """Raise ``ValueError`` if a split's folder is missing or goes by a name that would be overlooked."""
    for synonym in ("valid", "validation"):
        if (root / synonym).is_dir():
            raise ValueError(f"--data.root {root}: has a folder {synonym}/, expected val/; rename it")
    for split in ("train", "test"):
        if not (root / split).is_dir():
            raise ValueError(
                f"--data.root {root}: has no folder {split}/, expected train/CLASS/*.jpg and test/CLASS/*.jpg; move "
                "the images on which results are to be reported to test/ (where only val/ was published, rename it: "
                "a validation set is then split off train/), or say which is which in a --data.manifest"
            )


def list_split(root: Path, folder: str, class_names: tuple[str, ...]) -> Listed:
    """Return the files of the class folders in ``root/folder``.

    Raises:
        ValueError: if a class is unknown or has no images.
    """
    present = visible_folders(root / folder)
    check_known(f"--data.root {root}, folder {folder}/", present, class_names)
    targets: list[Tensor] = []

    def walk_classes() -> Iterator[str]:
        for name in present:
            count = 0
            for path in image_files(root, f"{folder}/{name}"):
                count += 1
                yield path
            if count == 0:
                raise ValueError(
                    f"--data.root {root}: the class folder {folder}/{name}/ has no images (.jpg, .png, .webp); "
                    "remove it or put images there"
                )
            targets.append(torch.full((count,), class_names.index(name)))

    paths = PathList.of(walk_classes())
    if not targets:
        raise ValueError(f"--data.root {root}: {folder}/ has no class folders, expected {folder}/CLASS/*.jpg")
    return Listed(paths, torch.cat(targets))


def check_known(where: str, labels: list[str], class_names: tuple[str, ...]) -> None:
    """Raise ``ValueError`` naming labels that no training image has."""
    unknown = sorted(set(labels) - set(class_names))
    if unknown:
        raise ValueError(
            f"{where}: unknown classes {', '.join(map(repr, unknown[:5]))} ({len(unknown)} in all); those of the "
            f"training images are {', '.join(class_names[:10])}{', ...' if len(class_names) > 10 else ''}"
        )


def list_manifest(manifest: Path, root: Path) -> tuple[tuple[str, ...], dict[str, Listed]]:
    """Return the classes, sorted by name, and the files of the splits that the table names."""
    listings = read_manifest(manifest, root)
    for split in ("train", "test"):
        if split not in listings:
            raise ValueError(
                f"--data.manifest {manifest}: no row with a label is in the split {split!r}, expected some; mark "
                "those on which results are to be reported as test"
            )
    class_names = tuple(sorted(set(listings["train"].labels or ())))
    return class_names, {split: listed_of(manifest, rows, class_names) for split, rows in listings.items()}


def listed_of(manifest: Path, rows: SplitListing, class_names: tuple[str, ...]) -> Listed:
    """Return the rows of one split with class indices for labels, ``-1`` for none."""
    check_known(f"--data.manifest {manifest}", rows.labels or [], class_names)
    index = {name: label for label, name in enumerate(class_names)}
    targets = [-1] * len(rows.paths) if rows.labels is None else [index[label] for label in rows.labels]
    return Listed(PathList.of(rows.paths), torch.tensor(targets))


def list_pool(root: Path, unlabeled: Path | None, listed: dict[str, Listed]) -> dict[str, Listed]:
    """Return the files of the unlabelled folder, if there is one."""
    folder = unlabeled or root / "unlabeled"
    if unlabeled is None and ("unlabeled" in listed or not folder.is_dir()):
        return {}
    if "unlabeled" in listed:
        raise ValueError(
            f"--data.unlabeled {unlabeled}: the manifest has unlabelled rows too, expected one pool; leave one out"
        )
    if not folder.is_dir():
        raise ValueError(f"--data.unlabeled {folder}: no such folder, expected one with images at any depth")
    paths = PathList.of(image_files(root, os.path.relpath(folder, root).replace(os.sep, "/")))
    if not len(paths):
        raise ValueError(f"--data.unlabeled {folder}: has no images (.jpg, .png, .webp) at any depth")
    return {"unlabeled": Listed(paths, torch.full((len(paths),), -1))}
