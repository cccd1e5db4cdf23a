"""The rows of a comparison, read from the directories of its runs, and which of them are compared."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.comparisons.statistics import Row, Trial
from experiments.prediction_tables import PREDICTIONS, read_predictions

ENDS = {
    "train": "train",
    "segment": "train",
    "evaluate": "evaluate",
    "distill": "student_distilled",
    "self-train": "final",
}
"""The stage that each command is run for."""
BASELINES = {"distill": "student_alone", "self-train": "baseline"}
"""The stage that it is compared with, unless the user says another."""


@dataclass(frozen=True)
class FinishedRun:
    """A run that is done.

    Attributes:
        seed: of the run.
        directory: of the run.
        results: what its ``results.json`` holds.
    """

    seed: int
    directory: Path
    results: dict[str, Any]

    def meant(self, stage: str) -> str:
        """Return a stage's name; of ``final`` and ``baseline`` the stages that self-training ended with."""
        return str(self.results.get("summary", {}).get(stage, stage))

    def trial(self, stage: str, measure: str) -> Trial | None:
        """Return what the run has of a stage, ``None`` where it measured nothing on test."""
        name = self.meant(stage)
        record = self.results["stages"].get(name, {})
        value = record.get("metrics", {}).get(f"test/{measure}")
        if value is None:
            return None
        number = list(self.results["stages"]).index(name)
        path = self.directory / "stages" / f"{number}-{name}" / PREDICTIONS
        return Trial(record, value, read_predictions(path) if path.is_file() else None)


@dataclass(frozen=True)
class Setting:
    """The runs of one setting that are done.

    Attributes:
        name: of the setting.
        runs: one a seed, one or more.
        measure: ``accuracy`` or ``mean_iou``.
    """

    name: str
    runs: Sequence[FinishedRun]
    measure: str

    def stage(self, name: str) -> str:
        """Return the stage that all runs mean by a name, the name itself where they mean different ones."""
        meant = {run.meant(name) for run in self.runs}
        return meant.pop() if len(meant) == 1 else name

    def row(self, stage: str) -> Row:
        """Return the row of a stage."""
        found = {run.seed: run.trial(stage, self.measure) for run in self.runs}
        return Row(self.name, stage, {seed: trial for seed, trial in found.items() if trial is not None})

    def rows(self) -> list[Row]:
        """Return the rows of all stages, and of the ends of self-training that are other stages in other runs."""
        stages = dict.fromkeys(name for run in self.runs for name in run.results["stages"])
        ends = dict.fromkeys(self.stage(name) for name in ("baseline", "final"))
        rows = [self.row(name) for name in stages | ends]
        return [row for row in rows if row.trials]


def measure_of(runs: Sequence[FinishedRun]) -> str:
    """Return what the runs are compared by: of masks ``mean_iou``, of classes ``accuracy``."""
    records = [record for run in runs for record in run.results["stages"].values()]
    return "mean_iou" if any("test/mean_iou" in record.get("metrics", {}) for record in records) else "accuracy"


def choose_pairs(
    settings: Sequence[Setting], rows: Sequence[Row], command: str, baseline: str | None
) -> list[tuple[Row, Row]]:
    """Return which rows are compared, the baseline first.

    Args:
        settings: all of them.
        rows: those of all settings.
        command: that was run.
        baseline: ``STAGE``, ``SETTING/STAGE`` or ``None``, as the user said it.

    Raises:
        ValueError: there is no row of that name.
    """
    found = {(row.setting, row.stage): row for row in rows}
    if baseline is None:
        ends = [(setting.name, setting.stage(ENDS[command])) for setting in settings]
        begins = [(setting.name, setting.stage(BASELINES.get(command, ENDS[command]))) for setting in settings]
        keys = list(zip(begins, ends, strict=True)) + [(ends[0], end) for end in ends[1:]]
        pairs = [(found[first], found[second]) for first, second in keys if {first, second} <= found.keys()]
    else:
        wanted, _, stage = baseline.rpartition("/")
        named = [(each.name, each.stage(stage)) for each in settings if wanted in ("", each.name)]
        if not found.keys() & named:
            raise ValueError(f"baseline: got {baseline!r}, expected one of {', '.join('/'.join(key) for key in found)}")
        firsts = [found[key] for key in named if key in found]
        pairs = [(first, row) for first in firsts for row in rows if wanted or row.setting == first.setting]
    return [(a, b) for a, b in pairs if a is not b and a.trials.keys() & b.trials.keys()]
