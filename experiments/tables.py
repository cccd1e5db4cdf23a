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
HEADINGS = ("parameters", "seconds", "steps", "val\nacc.", "test\nacc.")
OF_PSEUDO_LABELS = {
    "selected_share": "pool\nselected",
    "accuracy": "right\nof all",
    "accuracy_selected": "right of\nselected",
}
"""Headings of what a stage learned from, by the names that the audit has for it."""
WIDTH = 100
"""Characters of a line, more only where the terminal has more: a narrower table would lose digits."""


def print_table(results: dict[str, Any], console: Console | None = None) -> None:
    """Print one row a stage: parameters, seconds, steps, validation and test accuracy.

    Where some stage learned from pseudo-labels: also their share of the pool, and how many of all and of the selected
    ones are right, where the truth is known.
    """
    trained = {name: record for name, record in results["stages"].items() if "metrics" in record}
    is_taught = any("pseudo_labels" in record for record in trained.values())
    table = Table(
        title=f"{results['name']} (seed {results['seed']}, {results['device']}; accuracy in %)",
        caption="pseudo-labels in %: right by the pool's hidden truth, which no training saw" if is_taught else None,
        box=box.SIMPLE_HEAD,
        collapse_padding=True,
        pad_edge=False,
    )
    table.add_column("stage", no_wrap=True, vertical="bottom")
    for heading in (*HEADINGS, *(OF_PSEUDO_LABELS.values() if is_taught else ())):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, record in trained.items():
        table.add_row(TITLES.get(name, name), *cells(record), *(pseudo_label_cells(record) if is_taught else ()))
    (console or Console(width=max(WIDTH, Console().width))).print(table)


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


def pseudo_label_cells(record: dict[str, Any]) -> list[str]:
    """Return how many pseudo-labels a stage learned from and how right they are, as text; a dash where unknown."""
    numbers = record.get("pseudo_labels", {})
    return [percent(numbers.get(name)) for name in OF_PSEUDO_LABELS]


def percent(fraction: float | None) -> str:
    """Return a fraction as per cent with two digits."""
    return "–" if fraction is None else f"{100 * fraction:.2f}"
