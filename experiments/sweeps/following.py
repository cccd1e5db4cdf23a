"""What a run reaches on validation, read from its files while it goes on and when it has ended."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LOOK_SECONDS = 0.5
"""Between two looks at the files of a run that goes on."""


@dataclass(frozen=True)
class Followed:
    """The stages of a run that are looked at.

    Attributes:
        stages: in their order; those that are not there yet, or are never done, have no epochs.
        final: the stage that says what the run reached; ``None`` is the one that its summary names.
    """

    stages: Sequence[str]
    final: str | None

    def epochs(self, run_directory: Path) -> list[dict[str, float]]:
        """Return the validation metrics of every epoch that was validated, stage after stage."""
        return [epoch for stage in self.stages for epoch in epochs_of(run_directory, stage)]

    def reached(self, results: dict[str, Any]) -> dict[str, float]:
        """Return the metrics of the network that the run was about, from its ``results.json``.

        Raises:
            ValueError: the run has no such stage.
        """
        name = results["summary"]["final"] if self.final is None else self.final
        metrics: dict[str, float] | None = results["stages"].get(name, {}).get("metrics")
        if metrics is None:
            raise ValueError(f"stage: got {name!r}, expected one that {results['name']} has: {list(results['stages'])}")
        return metrics


def follow(command: str, num_rounds: int = 0, stage: str | None = None) -> Followed:
    """Return what to look at in a run of a command.

    Args:
        command: as it is typed.
        num_rounds: of self-training.
        stage: the only one; ``None`` takes the students whose network the run ends with.
    """
    if stage is not None:
        return Followed((stage,), stage)
    if command == "self-train":
        return Followed([f"round_{number}" for number in range(1, num_rounds + 1)], None)
    final = "student_distilled" if command == "distill" else "train"
    return Followed((final,), final)


def epochs_of(run_directory: Path, stage: str) -> list[dict[str, float]]:
    """Return the validation metrics of a stage's epochs, without those of its best one, measured again at the end."""
    epochs = []
    for path in run_directory.glob(f"stages/*-{stage}/metrics.csv"):
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                values = {name: float(text) for name, text in row.items() if name.startswith("val/") and text}
                if values and row.get("train/loss"):
                    epochs.append(values)
    return epochs
