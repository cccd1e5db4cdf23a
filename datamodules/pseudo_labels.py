"""The pseudo-label table: what a teacher says of every sample of a pool."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from datamodules.parquet_file import ParquetFile
from datamodules.pseudo_label_columns import (
    ROWS_AT_ONCE,
    TableMetadata,
    are_distributions,
    concatenate,
    not_a_table,
    open_table,
    printable,
    probability_array,
    read_pieces,
    require_schema,
    table_schema,
)
from datamodules.pseudo_mask_files import mask_folder
from datamodules.sources.paths import PathList


@dataclass(frozen=True)
class PseudoLabels:
    """A teacher's class probabilities for every sample of a pool, each sample once, sorted by id.

    Attributes:
        ids: ``(N,)`` int64, ascending.
        probabilities: ``(N, K)`` float32; of pseudo-masks, the mean over an image's pixels.
        metadata: where they come from.
        paths: the samples' files, where the source has files.
        masks: the folder of the pseudo-masks, of a table that was read from a file and has some.
        labels: ``(N,)`` int64, the most probable class, which follows from the probabilities.
        confidences: ``(N,)`` float32, its probability.
    """

    ids: Tensor
    probabilities: Tensor
    metadata: TableMetadata
    paths: PathList | None = None
    masks: Path | None = None
    labels: Tensor = field(init=False)
    confidences: Tensor = field(init=False)

    def __post_init__(self) -> None:
        labels = self.probabilities.argmax(dim=1)  # of equal ones the first, which max(dim=1) does not promise
        object.__setattr__(self, "labels", labels)
        object.__setattr__(self, "confidences", self.probabilities.gather(1, labels[:, None]).squeeze(1))

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def num_classes(self) -> int:
        """Number of classes ``K``."""
        return len(self.metadata.class_names)

    @classmethod
    def read(cls, path: Path) -> "PseudoLabels":
        """Return the table in a file.

        Raises:
            ValueError: the file is missing, damaged, no pseudo-label table, or one that contradicts itself.
        """
        with open_table(path) as file:
            metadata = TableMetadata.of_schema(path, file.schema_arrow)
            has_paths = "path" in file.schema_arrow.names
            require_schema(path, file.schema_arrow, table_schema(metadata, has_paths))
            pieces = list(read_pieces(path, file))
        columns = {name: concatenate(pieces, name) for name in ("id", "label", "confidence", "probabilities")}
        paths = PathList.of(name for piece in pieces for name in piece["path"].to_pylist()) if has_paths else None
        probabilities = columns["probabilities"].view(-1, len(metadata.class_names))
        require_probabilities(path, probabilities)
        masks = None if metadata.masks is None else mask_folder(path, metadata.masks)
        table = cls(columns["id"], probabilities, metadata, paths, masks)
        require_consistent(path, table, columns["label"], columns["confidence"])
        return table

    def write(self, path: Path) -> None:
        """Write the table to a file that is there whole or not at all; equal tables give equal bytes."""
        import pyarrow as pa

        schema = table_schema(self.metadata, self.paths is not None)
        with ParquetFile(path, schema) as file:
            for start in range(0, len(self), ROWS_AT_ONCE):
                rows = slice(start, start + ROWS_AT_ONCE)
                arrays = [
                    pa.array(self.ids[rows].numpy()),
                    pa.array(self.labels[rows].numpy()),
                    pa.array(self.confidences[rows].numpy()),
                    probability_array(self.probabilities[rows]),
                ]
                if self.paths is not None:
                    arrays.append(pa.array([printable(name) for name in self.paths[rows]], pa.string()))
                file.append(pa.Table.from_arrays(arrays, schema=schema))

    def describe(self) -> str:
        """Return a few lines: how many labels, of which classes, how confident, by which teacher."""
        meta = self.metadata
        kind = "labels" if meta.masks is None else "masks"
        counts = self.labels.bincount(minlength=self.num_classes).tolist()
        shares = torch.tensor([0.0, 0.1, 0.5, 0.9, 1.0])
        # NumPy's quantile: torch's stops at 16 million values
        quantiles = np.quantile(self.confidences.numpy(), shares.numpy()) if len(self) else []
        return "\n".join(
            (
                f"{len(self)} pseudo-{kind} of {meta.source} ({self.num_classes} classes, view {meta.view})",
                f"by the teacher {meta.teacher}",
                "labels: " + ", ".join(f"{n} {name}" for name, n in zip(meta.class_names, counts, strict=True)),
                "confidence: "
                + ", ".join(f"{v:.3f} at {s:.0%}" for s, v in zip(shares.tolist(), quantiles, strict=False)),
                "versions: " + ", ".join(f"{name} {number}" for name, number in sorted(meta.versions.items())),
            )
        )


def require_probabilities(path: Path, probabilities: Tensor) -> None:
    """Raise a ``ValueError`` unless every row of ``probabilities (N, K)`` is a distribution."""
    valid = are_distributions(probabilities)
    if not valid.all():
        first = int((~valid).nonzero()[0])
        raise not_a_table(
            path, f"{int((~valid).sum())} rows hold no probabilities that sum to 1, the first being row {first}"
        )


def require_consistent(path: Path, table: PseudoLabels, labels: Tensor, confidences: Tensor) -> None:
    """Raise a ``ValueError`` unless ids ascend, and labels and confidences are those of the probabilities."""
    if not bool((table.ids[1:] > table.ids[:-1]).all()):
        raise not_a_table(path, "its ids do not ascend, so some may occur twice")
    if not torch.equal(table.labels, labels) or not torch.equal(table.confidences, confidences):
        raise not_a_table(path, "its labels or confidences are not those of the largest probability")
