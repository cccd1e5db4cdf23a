"""The table that a run ends with."""

from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

TITLES = {
    "teacher": "teacher",
    "student_alone": "student alone",
    "student_distilled": "student distilled",
    "student_all_labels": "student, all labels",
}


def print_table(results: dict[str, Any], console: Console | None = None) -> None:
    """Print one row a stage: parameters, seconds, steps, validation and test accuracy."""
    title = f"{results['name']} (seed {results['seed']}, {results['device']}; accuracy in %)"
    table = Table(title=title, box=box.SIMPLE_HEAD)
    table.add_column("stage", no_wrap=True)
    for heading in ("parameters", "seconds", "steps", "val acc.", "test acc."):
        table.add_column(heading, justify="right")
    trained = {name: record for name, record in results["stages"].items() if "metrics" in record}
    for name, record in trained.items():
        table.add_row(TITLES.get(name, name), *cells(record))
    (console or Console()).print(table)


def cells(record: dict[str, Any]) -> list[str]:
    """Return a stage's numbers as text; a dash where there is none."""
    metrics = record["metrics"]
    return [
        f"{record['parameters']:,}",
        f"{record['seconds']:.1f}" if record["seconds"] is not None else "–",
        f"{record['steps']:,}" if record["steps"] is not None else "–",
        percent(metrics.get("val/accuracy")),
        percent(metrics.get("test/accuracy")),
    ]


def percent(fraction: float | None) -> str:
    """Return a fraction as per cent with two digits."""
    return "–" if fraction is None else f"{100 * fraction:.2f}"
