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
HEADINGS = ("parameters", "seconds", "steps")
MEASURES = {"accuracy": ("accuracy", "acc."), "mean_iou": ("mean IoU", "mIoU")}
"""What networks are compared by, as it is written, and in short."""
OF_PSEUDO_LABELS = {
    "accuracy": {
        "selected_share": "pool\nselected",
        "accuracy": "right\nof all",
        "accuracy_selected": "right of\nselected",
    },
    "mean_iou": {
        "selected_share": "pixels\nselected",
        "mean_iou": "mIoU\nof all",
        "mean_iou_selected": "mIoU of\nselected",
    },
}
"""Headings of what a stage learned from, by the names that the audit has for it, for each measure."""
WIDTH = 100
"""Characters of a line, more only where the terminal has more: a narrower table would lose digits."""


def print_table(results: dict[str, Any], console: Console | None = None) -> None:
    """Print one row a stage: parameters, seconds, steps, accuracy (of masks mean IoU) on validation and test.

    Where some stage learned from pseudo-labels: also their share of the pool, and how right all and the selected ones
    are, where the truth is known.
    """
    trained = {name: record for name, record in results["stages"].items() if "metrics" in record}
    measure = "mean_iou" if any("test/mean_iou" in record["metrics"] for record in trained.values()) else "accuracy"
    name, short = MEASURES[measure]
    is_taught = any("pseudo_labels" in record for record in trained.values())
    columns = OF_PSEUDO_LABELS[measure] if is_taught else {}
    table = Table(
        title=f"{results['name']} (seed {results['seed']}, {results['device']}; {name} in %)",
        caption="pseudo-labels in %: right by the pool's hidden truth, which no training saw" if is_taught else None,
        box=box.SIMPLE_HEAD,
        collapse_padding=True,
        pad_edge=False,
    )
    table.add_column("stage", no_wrap=True, vertical="bottom")
    for heading in (*HEADINGS, f"val\n{short}", f"test\n{short}", *columns.values()):
        table.add_column(heading, justify="right", no_wrap=True)
    for stage, record in trained.items():
        numbers = record.get("pseudo_labels", {})
        of_labels = [percent(numbers.get(key)) for key in columns]
        table.add_row(TITLES.get(stage, stage), *cells(record, measure), *of_labels)
    (console or Console(width=max(WIDTH, Console().width))).print(table)


def cells(record: dict[str, Any], measure: str) -> list[str]:
    """Return a stage's numbers as text; a dash where there is none."""
    metrics = record["metrics"]
    return [
        f"{record['parameters']:,}",
        f"{record['seconds']:.1f}" if record["seconds"] is not None else "–",
        f"{record['steps']:,}" if record["steps"] is not None else "–",
        percent(metrics.get(f"val/{measure}")),
        percent(metrics.get(f"test/{measure}")),
    ]


def percent(fraction: float | None) -> str:
    """Return a fraction as per cent with two digits."""
    return "–" if fraction is None else f"{100 * fraction:.2f}"
