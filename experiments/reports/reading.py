"""Reads what runs and comparisons have left, as far as it is there."""

import csv
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import yaml

from experiments.files import read_json
from experiments.prediction_tables import (
    CONFUSION,
    EXAMPLES,
    PREDICTIONS,
    Example,
    Integers,
    Predictions,
    read_confusion,
    read_examples,
    read_predictions,
)
from experiments.stage import Record
from experiments.tables import TITLES

Row: TypeAlias = dict[str, float]
Content = TypeVar("Content")

SELF_TRAINING = {
    "round_0": "first teacher",
    "finetuned": "finetuned student",
    "supervised": "labels alone",
    "supervised_noised": "labels alone, noised views",
    "supervised_all_labels": "all labels",
}
SINGLE = {"train": "the network", "evaluate": "the network"}


@dataclass(frozen=True)
class ReportedStage:
    """A stage that trained or evaluated a network.

    Attributes:
        name: as ``results.json`` has it.
        directory: of its files.
        record: its numbers.
    """

    name: str
    directory: Path
    record: Record

    @property
    def title(self) -> str:
        """What it is called in a report."""
        return stage_title(self.name)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """What the stage was begun with."""
        return or_none(read_json, self.directory / "settings.json") or {}

    @property
    def network(self) -> str | None:
        """Name of its network, ``None`` where no setting says it."""
        return network_name(self.settings)

    @cached_property
    def curve(self) -> list[Row]:
        """Rows of ``metrics.csv``, each with the values it has."""
        return or_none(read_curve, self.directory / "metrics.csv") or []

    @cached_property
    def predictions(self) -> Predictions | None:
        """What its network says of the test images."""
        return or_none(read_predictions, self.directory / PREDICTIONS)

    @cached_property
    def examples(self) -> list[Example]:
        """Test images to look at."""
        return or_none(read_examples, self.directory / EXAMPLES) or []

    @cached_property
    def confusion(self) -> tuple[list[str], Integers] | None:
        """Names of the classes, and counts ``(K, K)`` of images, of masks pixels: a row a true class."""
        if self.predictions is not None:
            return list(self.predictions.class_names), self.predictions.confusion()
        return or_none(read_confusion, self.directory / CONFUSION)

    def metric(self, name: str) -> float | None:
        """Return one of its metrics, such as ``test/accuracy``."""
        value: float | None = self.record["metrics"].get(name)
        return value


@dataclass(frozen=True)
class ReportedRun:
    """A finished run.

    Attributes:
        directory: of its files.
        results: content of ``results.json``.
        config: content of ``config.yaml``.
        stages: those that have metrics, in their order.
    """

    directory: Path
    results: dict[str, Any]
    config: dict[str, Any]
    stages: tuple[ReportedStage, ...]

    @property
    def measure(self) -> str:
        """What its networks are compared by: ``accuracy``, of masks ``mean_iou``."""
        return "mean_iou" if any("test/mean_iou" in stage.record["metrics"] for stage in self.stages) else "accuracy"

    @property
    def audits(self) -> list[Record]:
        """What is known of the pseudo-labels of each round, with the ``stage`` that learned from them."""
        records = self.results["stages"].items()
        return [
            record["pseudo_labels"] | {"stage": name.removesuffix("_labels")}
            for name, record in records
            if "pseudo_labels" in record and "metrics" not in record
        ]

    def stage(self, name: str | None) -> ReportedStage | None:
        """Return a stage by name, ``None`` where the run has it not."""
        return next((stage for stage in self.stages if stage.name == name), None)

    @property
    def final(self) -> ReportedStage | None:
        """The stage whose network the run was made for."""
        names = (self.results.get("summary", {}).get("final"), "student_distilled")
        found = (self.stage(name) for name in names)
        return next((stage for stage in found if stage), self.stages[-1] if self.stages else None)

    @property
    def baseline(self) -> ReportedStage | None:
        """The stage with which the final one is compared, ``None`` where there is none."""
        names = (self.results.get("summary", {}).get("baseline"), "student_alone", "round_0")
        found = next((stage for stage in map(self.stage, names) if stage), None)
        return None if found is None or found is self.final else found


@dataclass(frozen=True)
class Comparison:
    """A finished comparison of settings over several seeds: the content of ``comparison.json``."""

    directory: Path
    content: dict[str, Any]


def read_source(directory: Path) -> ReportedRun | Comparison:
    """Return what a directory holds.

    Raises:
        ValueError: it holds neither results nor a comparison, or these are damaged.
    """
    comparison = read_json(directory / "comparison.json")
    if comparison is not None:
        return Comparison(directory, comparison)
    results = read_json(directory / "results.json")
    if results is None:
        raise ValueError(
            f"runs: got {directory}, expected a directory with the results.json of a finished run, or with a "
            "comparison.json; the command that began a run goes on with it"
        )
    stages = tuple(
        ReportedStage(name, directory / "stages" / f"{number}-{name}", record)
        for number, (name, record) in enumerate(results["stages"].items())
        if "metrics" in record
    )
    take_least_latency([stage.record for stage in stages])
    return ReportedRun(directory, results, or_none(read_yaml, directory / "config.yaml") or {}, stages)


def take_least_latency(records: Sequence[Record]) -> None:
    """Give records of networks with as many parameters the least latency of them: other work only adds to it."""
    least: dict[int, float] = {}
    known = [record for record in records if record.get("latency_ms") is not None]
    for record in known:
        size = record["parameters"]
        least[size] = min(record["latency_ms"], least.get(size, record["latency_ms"]))
    for record in known:
        record["latency_ms"] = least[record["parameters"]]


def or_none(read: Callable[[Path], Content], path: Path) -> Content | None:
    """Return a file's content, ``None`` where it is missing or damaged: a report does without it."""
    try:
        return read(path) if path.is_file() else None
    except ValueError:
        return None


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping that a YAML file holds.

    Raises:
        ValueError: it is no YAML, or no mapping.
    """
    try:
        content = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not valid YAML ({error})") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a mapping, it holds a {type(content).__name__}")
    return content


def read_curve(path: Path) -> list[Row]:
    """Return the rows of a CSV file without their empty cells, and without the test of the best epoch at the end.

    Raises:
        ValueError: a cell is no number.
    """
    with path.open(newline="") as file:
        rows = [{name: float(cell) for name, cell in row.items() if cell} for row in csv.DictReader(file)]
    return [row for row in rows if not any(name.startswith("test/") for name in row)]


def stage_title(name: str) -> str:
    """Return what a stage is called in a report."""
    student = re.fullmatch(r"round_(\d+)", name)
    if student and name not in SELF_TRAINING:
        return f"student of round {student[1]}"
    return (TITLES | SELF_TRAINING | SINGLE).get(name, name)


def network_name(settings: Mapping[str, Any]) -> str | None:
    """Return the name of the network that a stage's settings describe, with its encoder if one is chosen."""
    described = settings.get("round", settings)
    network = next((described[key] for key in ("student", "model", "teacher") if key in described), None)
    if not network or not network.get("network"):
        return None
    encoder = (network.get("options") or {}).get("encoder")
    return f"{network['network']} on {encoder}" if encoder else str(network["network"])
