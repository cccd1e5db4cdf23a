"""``metrics.csv``: one row a step, kept when a stage resumes."""

import csv
import io
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from experiments.files import write_atomically

FIRST_COLUMNS = ["step", "epoch"]
EPOCH_METRICS = ("val/", "test/", "train/accuracy")
"""What ends an epoch, so that the file is written; the losses of single steps wait for it."""


class MetricsLog(Logger):
    """Writes what is logged to ``metrics.csv``, whole and atomically at every epoch's end.

    Unlike Lightning's ``CSVLogger`` it keeps the rows of an interrupted run: those up to the step from which
    the run resumes.

    Args:
        directory: where ``metrics.csv`` lies.
        resume_step: global step of the checkpoint from which training resumes; later rows are dropped.
    """

    def __init__(self, directory: Path, resume_step: int = 0) -> None:
        super().__init__()
        self.path = directory / "metrics.csv"
        self.rows: dict[int, dict[str, Any]] = {}
        if self.path.exists():
            with self.path.open(newline="") as file:
                rows = [{k: v for k, v in row.items() if v != ""} for row in csv.DictReader(file)]
            self.rows = {int(row["step"]): row for row in rows if int(row["step"]) < resume_step}

    @property
    def name(self) -> str:
        """Name of the logger."""
        return "metrics"

    @property
    def version(self) -> str:
        """There is one version."""
        return ""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Add values to the row of ``step``."""
        row = self.rows.setdefault(step or 0, {"step": step or 0})
        row.update({name: int(value) if name == "epoch" else value for name, value in metrics.items()})
        if any(name.startswith(EPOCH_METRICS) for name in metrics):
            self.write()

    @rank_zero_only
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Hyperparameters stand in ``config.yaml``."""

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write what is not written yet."""
        if self.rows:
            self.write()

    def last(self, metric: str) -> list[Any]:
        """Return the value of a metric that was logged last; nothing where there is none."""
        return [row[metric] for _, row in sorted(self.rows.items()) if metric in row][-1:]

    def write(self) -> None:
        """Write all rows."""
        names = {name for row in self.rows.values() for name in row}
        columns = FIRST_COLUMNS + sorted(names - set(FIRST_COLUMNS))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns)
        writer.writeheader()
        writer.writerows(self.rows[step] for step in sorted(self.rows))
        write_atomically(self.path, text.getvalue())
