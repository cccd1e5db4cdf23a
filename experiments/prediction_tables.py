"""What a stage leaves of its test: each image's prediction, examples to look at, the confusion of masks."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from datamodules.parquet_file import ParquetFile
from experiments.files import write_atomically

Integers: TypeAlias = NDArray[np.int64]

PREDICTIONS, EXAMPLES, CONFUSION = "predictions.parquet", "examples.parquet", "confusion.csv"
OVERLAYS = "overlays.png"
"""Names of the files in a stage's directory."""
CLASS_NAMES = b"class_names"


@dataclass(frozen=True)
class Predictions:
    """What a network says of each image of a split.

    Attributes:
        ids: ``(N,)`` ascending.
        targets: ``(N,)`` class indices, -1 where unknown.
        labels: ``(N,)`` most probable classes.
        confidences: ``(N,)`` float32, their probabilities.
        class_names: ``K`` names, in the order of the class indices.
    """

    ids: Integers
    targets: Integers
    labels: Integers
    confidences: NDArray[np.float32]
    class_names: tuple[str, ...]

    @property
    def known(self) -> NDArray[np.bool_]:
        """``(N,)``, whether the true class is known."""
        return np.asarray(self.targets >= 0)

    @property
    def correct(self) -> NDArray[np.bool_]:
        """``(N,)``, whether the label is the true class."""
        return np.asarray(self.labels == self.targets)

    def confusion(self) -> Integers:
        """Return ``(K, K)``, the images of each true class (row) by label (column)."""
        number = len(self.class_names)
        pairs = self.targets[self.known] * number + self.labels[self.known]
        return np.bincount(pairs, minlength=number**2).reshape(number, number)

    def reliability(self, num_bins: int = 15) -> list[tuple[float, float, int]]:
        """Return mean confidence, accuracy and number of images of each bin of confidence that holds any.

        Bins are evenly wide, as in Guo et al. 2017, "On calibration of modern neural networks".
        """
        confidences, correct = self.confidences[self.known].astype(np.float64), self.correct[self.known]
        bins = np.clip(np.ceil(confidences * num_bins).astype(np.int64) - 1, 0, num_bins - 1)
        counts = np.bincount(bins, minlength=num_bins)
        sums = [np.bincount(bins, weights=values, minlength=num_bins) for values in (confidences, correct)]
        return [
            (float(confidence / count), float(right / count), int(count))
            for confidence, right, count in zip(*sums, counts, strict=True)
            if count
        ]

    @property
    def calibration_error(self) -> float:
        """Expected calibration error over those bins: mean distance of confidence and accuracy, by image."""
        bins = self.reliability()
        total = sum(count for _, _, count in bins)
        return sum(count * abs(confidence - right) for confidence, right, count in bins) / max(1, total)


@dataclass(frozen=True)
class Example:
    """An image to look at.

    Attributes:
        kind: ``confident_mistake`` or ``least_sure``.
        id: of the sample.
        target: its class, -1 where unknown.
        label: the most probable class.
        confidence: its probability.
        image: the bytes of a PNG file.
    """

    kind: str
    id: int
    target: int
    label: int
    confidence: float
    image: bytes


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write a table with a row an image."""
    columns = {
        "id": predictions.ids,
        "target": predictions.targets,
        "label": predictions.labels,
        "confidence": predictions.confidences,
    }
    write_table(path, columns, predictions.class_names)


def read_predictions(path: Path) -> Predictions:
    """Return what ``write_predictions`` wrote.

    Raises:
        ValueError: the file is missing, damaged or of another kind.
    """
    table, class_names = read_table(path, ("id", "target", "label", "confidence"))
    ids, targets, labels, confidences = (column.to_numpy() for column in table.columns)
    return Predictions(ids, targets, labels, confidences, class_names)


def write_examples(path: Path, examples: Sequence[Example], class_names: Sequence[str]) -> None:
    """Write a table with a row an example."""
    import pyarrow as pa

    kinds = {"kind": pa.string(), "id": pa.int64(), "target": pa.int64(), "label": pa.int64()}
    kinds |= {"confidence": pa.float32(), "image": pa.binary()}
    columns = {name: pa.array([getattr(each, name) for each in examples], kind) for name, kind in kinds.items()}
    write_table(path, columns, class_names)


def read_examples(path: Path) -> list[Example]:
    """Return what ``write_examples`` wrote.

    Raises:
        ValueError: the file is missing, damaged or of another kind.
    """
    table, _ = read_table(path, ("kind", "id", "target", "label", "confidence", "image"))
    return [Example(**row) for row in table.to_pylist()]


def write_confusion(path: Path, matrix: Integers, class_names: Sequence[str]) -> None:
    """Write ``(K, K)`` counts, a row a true class, a column a predicted one, below the names of the classes."""
    text = io.StringIO()
    csv.writer(text).writerows([class_names, *matrix.tolist()])
    write_atomically(path, text.getvalue())


def read_confusion(path: Path) -> tuple[list[str], Integers]:
    """Return the names and the counts that ``write_confusion`` wrote."""
    with path.open(newline="", errors="surrogateescape") as file:
        class_names, *rows = csv.reader(file)
    return class_names, np.array(rows, dtype=np.int64)


def write_table(path: Path, columns: dict[str, Any], class_names: Sequence[str]) -> None:
    """Write columns to a Parquet file, with the names of the classes as metadata."""
    import pyarrow as pa

    table = pa.table(columns, metadata={CLASS_NAMES: json.dumps(list(class_names)).encode()})
    with ParquetFile(path, table.schema) as file:
        file.append(table)


def read_table(path: Path, columns: Sequence[str]) -> tuple[Any, tuple[str, ...]]:
    """Return the columns of a Parquet file, and the names of the classes.

    Raises:
        ValueError: the file is missing, damaged or of another kind.
    """
    import pyarrow as pa
    from pyarrow import parquet

    try:
        table = parquet.read_table(path, page_checksum_verification=True)
        return table.select(list(columns)), tuple(json.loads(table.schema.metadata[CLASS_NAMES]))
    except (OSError, pa.ArrowException, KeyError, TypeError) as error:
        raise ValueError(f"{path}: expected a table with the columns {', '.join(columns)} ({error})") from error
