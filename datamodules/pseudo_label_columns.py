"""Columns and metadata of pseudo-label files, and how they are read from Parquet."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

ROWS_AT_ONCE = 16_384
VERSIONS_OF = ("torch", "lightning", "pyarrow")
SUM_TOLERANCE = 1e-2
"""How far from 1 the sum of probabilities may be: some were made in bfloat16."""


def library_versions() -> dict[str, str]:
    """Return the versions of the libraries that a table depends on."""
    return {name: version(name) for name in VERSIONS_OF}


@dataclass(frozen=True)
class TableMetadata:
    """Where a table comes from.

    Attributes:
        teacher: SHA-256 of the teacher's weights, in hexadecimal.
        source: name of the source of the images.
        class_names: ``K`` names, in the order of the class indices.
        view: name of the policy that made the images which the teacher saw.
        versions: of the libraries.
        masks: of pseudo-masks, SHA-256 of the list of their files' SHA-256, in hexadecimal; ``None`` of classes.
    """

    teacher: str
    source: str
    class_names: tuple[str, ...]
    view: str = "none"
    versions: dict[str, str] = field(default_factory=library_versions)
    masks: str | None = None

    def encoded(self) -> dict[str, str]:
        """Return the metadata of a Parquet schema: one JSON value a field, without ``masks`` where there are none."""
        return {name: json.dumps(value, sort_keys=True) for name, value in asdict(self).items() if value is not None}

    @classmethod
    def of_schema(cls, path: Path, schema: Any) -> "TableMetadata":
        """Return the metadata that a file's schema carries.

        Raises:
            ValueError: a field is missing or no JSON.
        """
        found = {key.decode(): value for key, value in (schema.metadata or {}).items()}
        try:
            names = [name for name in cls.__dataclass_fields__ if name != "masks" or name in found]
            fields = {name: json.loads(found[name]) for name in names}
        except (KeyError, ValueError) as error:
            raise not_a_table(path, f"its metadata lack {error}") from error
        return cls(**fields | {"class_names": tuple(fields["class_names"])})


def table_schema(metadata: TableMetadata, has_paths: bool) -> Any:
    """Return the ``pyarrow.Schema`` of a table."""
    import pyarrow as pa

    fields = [
        pa.field("id", pa.int64()),
        pa.field("label", pa.int64()),
        pa.field("confidence", pa.float32()),
        pa.field("probabilities", pa.list_(pa.float32(), len(metadata.class_names))),
    ]
    return pa.schema(fields + [pa.field("path", pa.string())] * has_paths, metadata.encoded())


def shard_schema(metadata: TableMetadata) -> Any:
    """Return the ``pyarrow.Schema`` of a shard; labels and paths follow when it is merged."""
    import pyarrow as pa

    probabilities = pa.list_(pa.float32(), len(metadata.class_names))
    return pa.schema([pa.field("id", pa.int64()), pa.field("probabilities", probabilities)], metadata.encoded())


def probability_array(probabilities: Tensor) -> Any:
    """Return ``(n, K)`` float32 as a ``pyarrow.FixedSizeListArray``."""
    import pyarrow as pa

    flat = pa.array(probabilities.contiguous().view(-1).numpy())
    return pa.FixedSizeListArray.from_arrays(flat, probabilities.shape[1])


def are_distributions(probabilities: Tensor) -> Tensor:
    """Return ``(n,)`` booleans: whether a row of ``probabilities (n, K)`` is not negative and sums to 1; NaN is not."""
    return (probabilities >= 0).all(dim=1) & ((probabilities.sum(dim=1) - 1).abs() <= SUM_TOLERANCE)


def printable(path: str) -> str:
    """Return a path as Parquet can hold it; file names that are no UTF-8 get their bytes written out."""
    return path.encode("utf-8", "backslashreplace").decode("utf-8")


def open_table(path: Path) -> Any:
    """Return a ``pyarrow.parquet.ParquetFile``, a context manager.

    Raises:
        ValueError: there is no file, or none of that kind.
    """
    import pyarrow as pa
    from pyarrow import parquet

    if not path.is_file():
        raise ValueError(f"{path}: no such file, expected a pseudo-label table; make one with the command pseudo-label")
    try:
        return parquet.ParquetFile(path, page_checksum_verification=True)
    except (pa.ArrowException, OSError) as error:
        raise not_a_table(path, str(error)) from error


def read_pieces(path: Path, file: Any) -> Iterator[Any]:
    """Yield the rows of an open table as ``pyarrow.RecordBatch``es.

    Raises:
        ValueError: a page is damaged, or a value is missing.
    """
    import pyarrow as pa

    try:
        for piece in file.iter_batches(ROWS_AT_ONCE):
            if any(column.null_count for column in piece.columns) or piece["probabilities"].flatten().null_count:
                raise not_a_table(path, "some of its values are missing")
            yield piece
    except (pa.ArrowException, OSError) as error:
        raise not_a_table(path, str(error)) from error


def concatenate(pieces: Sequence[Any], name: str) -> Tensor:
    """Return a column of numbers, lists one after another, as one tensor."""
    columns = [piece[name].flatten() if name == "probabilities" else piece[name] for piece in pieces]
    if not columns:
        return torch.empty(0, dtype=torch.float32 if name in ("confidence", "probabilities") else torch.int64)
    return torch.from_numpy(np.concatenate([column.to_numpy() for column in columns]))


def require_schema(path: Path, found: Any, expected: Any) -> None:
    """Raise a ``ValueError`` unless columns and their types are the expected ones."""
    if found.names != expected.names or found.types != expected.types:
        given, wanted = (", ".join(f"{f.name} {f.type}" for f in schema) for schema in (found, expected))
        raise not_a_table(path, f"its columns are {given}; expected {wanted}")


def not_a_table(path: Path, reason: str) -> ValueError:
    """Return the error of a file that is no usable table."""
    return ValueError(
        f"{path}: expected a pseudo-label table, but {reason}; write it again with the command pseudo-label"
    )
