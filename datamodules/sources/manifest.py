"""A table of images: ``path,label,split`` as CSV or Parquet, one row a file."""

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COLUMNS = ("path", "label", "split")
ROWS_AT_ONCE = 65_536
SPLITS = {"train": "train", "val": "validation", "validation": "validation", "test": "test", "unlabeled": "unlabeled"}


@dataclass(frozen=True)
class SplitListing:
    """The files of one split.

    Attributes:
        paths: relative to the root, in the order of the samples.
        labels: class names of the same length; ``None`` for unlabelled files.
    """

    paths: list[str]
    labels: list[str] | None


def read_manifest(manifest: Path, root: Path) -> dict[str, SplitListing]:
    """Return the listings of the splits that the table names; paths are relative to ``root``, or absolute.

    Rows of the split ``train`` without a label are the unlabelled pool, as are those of the split ``unlabeled`` and
    those without either.

    Raises:
        ValueError: if the table is unreadable or lacks a column, or a row names an unknown split, a missing file, a
            label in the pool, or no label elsewhere.
    """
    found: dict[str, tuple[list[str], list[str]]] = {}
    for number, (path, label, split) in enumerate(read_rows(manifest), start=1):
        name = split_of(manifest, number, label, split)
        paths, labels = found.setdefault(name, ([], []))
        paths.append(relative_to(root, path))
        labels.append(sys.intern(label))
    check_files(manifest, root, [path for paths, _ in found.values() for path in paths])
    return {
        name: SplitListing(paths, None if name == "unlabeled" else labels) for name, (paths, labels) in found.items()
    }


def read_rows(manifest: Path) -> Iterator[tuple[str, str, str]]:
    """Yield path, label and split of each row, empty where there is no value."""
    import pyarrow as pa
    from pyarrow import csv, parquet

    try:
        table: Any = (
            parquet.read_table(manifest)
            if manifest.suffix == ".parquet"
            else csv.read_csv(
                manifest, convert_options=csv.ConvertOptions(column_types=dict.fromkeys(COLUMNS, pa.string()))
            )
        )
    except (OSError, pa.ArrowException) as error:
        raise ValueError(
            f"--data.manifest {manifest}: cannot be read ({error}); expected a CSV or Parquet table with the columns "
            f"{','.join(COLUMNS)}"
        ) from error
    absent = [column for column in COLUMNS if column not in table.column_names]
    if absent:
        raise ValueError(
            f"--data.manifest {manifest}: has the columns {','.join(table.column_names)}, expected "
            f"{','.join(COLUMNS)}; add {','.join(absent)} (label and split may be empty)"
        )
    for batch in table.select(COLUMNS).to_batches(ROWS_AT_ONCE):
        columns = [column.cast(pa.string()).fill_null("").to_pylist() for column in batch.columns]
        yield from zip(*columns, strict=True)


def split_of(manifest: Path, number: int, label: str, split: str) -> str:
    """Return the split to which a row belongs."""
    name = SPLITS.get(split or ("" if label else "unlabeled"))
    if name is None:
        raise ValueError(
            f"--data.manifest {manifest}, row {number}: unknown split {split!r}, expected one of {', '.join(SPLITS)}; "
            "a labelled image must be in one of them"
        )
    if not label and name == "train":
        return "unlabeled"
    if bool(label) == (name == "unlabeled"):
        raise ValueError(
            f"--data.manifest {manifest}, row {number}: label {label!r} in the split {split!r}; an unlabelled image "
            "has an empty label, and an image of val or test needs one"
        )
    return name


def relative_to(root: Path, path: str) -> str:
    """Return a path relative to ``root`` with ``/`` between parts and without detours."""
    relative = os.path.relpath(path, root) if os.path.isabs(path) else os.path.normpath(path)
    return relative.replace(os.sep, "/")


def check_files(manifest: Path, root: Path, paths: list[str]) -> None:
    """Raise ``ValueError`` naming the first files that do not exist."""
    missing = [path for path in paths if not os.path.isfile(f"{root}/{path}")]
    if missing:
        raise ValueError(
            f"--data.manifest {manifest}: {len(missing)} of {len(paths)} files do not exist in {root}: "
            f"{', '.join(missing[:3])}; correct the paths, or name their folder with --data.root"
        )
