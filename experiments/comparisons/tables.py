"""A comparison as tables: on screen and in Markdown."""

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from experiments.comparisons.statistics import COVERAGE, NUM_RESAMPLES, Summary
from experiments.studies.reporting import markdown_table, percent_with_spread
from experiments.tables import MEASURES, TITLES, WIDTH

ENDS = {"final": "last student", "baseline": "better baseline"}
"""Titles of rows whose stage is another in other runs."""
FEW = 5
"""With fewer seeds bootstrap intervals are warned of."""
TO_OTHERS = {
    "seeds and test images": "other seeds and other test images",
    "seeds": "other seeds, on the same test images",
    "test images": "other test images, for the networks of one seed alone",
}


def to_markdown(comparison: Summary) -> str:
    """Return both tables and what is to be known of them."""
    tables = [
        markdown_table([heading.replace("\n", " ") for heading in headings], rows)
        for headings, rows in (row_cells(comparison), pair_cells(comparison))
        if rows
    ]
    return "\n\n".join([*tables, *notes(comparison)]) + "\n"


def print_comparison(comparison: Summary, console: Console | None = None) -> None:
    """Print both tables and what is to be known of them."""
    console = console or Console(width=max(WIDTH, Console().width))
    for headings, rows in (row_cells(comparison), pair_cells(comparison)):
        if rows:
            table = Table(box=box.SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
            for number, heading in enumerate(headings):
                table.add_column(heading, justify="right" if number else "left", vertical="bottom")
            for row in rows:
                table.add_row(*row)
            console.print(table)
    for note in notes(comparison):
        console.print(note, highlight=False, markup=False)


def row_cells(comparison: Summary) -> tuple[Sequence[str], list[list[str]]]:
    """Return headings and cells of the table of settings and stages."""
    measure = MEASURES[comparison["measure"]][0]
    headings = ("", "seeds", "parameters", "steps", "images\nseen", "seconds", f"test\n{measure}, %", "95 % interval")
    return headings, [
        [
            label(row, comparison),
            str(len(row["seeds"])),
            *(count(row[name]) for name in ("parameters", "steps", "images")),
            "–" if row["seconds"]["mean"] is None else f"{row['seconds']['mean']:.1f}",
            percent_with_spread(row["values"]),
            "–" if row["low"] is None else f"{100 * row['low']:.1f} to {100 * row['high']:.1f}",
        ]
        for row in comparison["rows"]
    ]


def pair_cells(comparison: Summary) -> tuple[Sequence[str], list[list[str]]]:
    """Return headings and cells of the table of differences."""
    steps = {(row["setting"], row["stage"]): count(row["steps"]) for row in comparison["rows"]}
    headings = ("", "difference,\npoints", "95 % interval", "")
    return headings, [
        [
            pair_label(pair, comparison),
            f"{100 * pair['difference']:+.2f}",
            "–" if pair["low"] is None else f"{100 * pair['low']:+.2f} to {100 * pair['high']:+.2f}",
            "; ".join(remarks(pair, [steps[tuple(pair[side].values())] for side in ("first", "second")])),
        ]
        for pair in comparison["pairs"]
    ]


def remarks(pair: Summary, steps: Sequence[str]) -> list[str]:
    """Return what a difference must not be read without."""
    of_interval: dict[bool | None, list[str]] = {
        True: [],
        False: ["not distinguishable"],
        None: ["one value alone: no interval"],
    }
    of_steps = [] if pair["steps_match"] else [f"not matched: {' and '.join(steps)} steps"]
    return [*of_interval[pair["distinguishable"]], *of_steps]


def notes(comparison: Summary) -> list[str]:
    """Return how the figures came about, what the intervals speak of and how far they can be trusted."""
    at_once = f"; {comparison['jobs']} runs at a time" if comparison["jobs"] > 1 else ""
    seeds = ", ".join(map(str, comparison["seeds"]))
    which = f"mean ± standard deviation of seeds {seeds}" if len(comparison["seeds"]) > 1 else f"seed {seeds} alone"
    lines = [f"{which}; {comparison['device']}, torch {comparison['versions']['torch']}{at_once}."]
    names: dict[str | None, list[str]] = {}
    for row in comparison["rows"]:
        names.setdefault(row["over"], []).append(label(row, comparison))
    for pair in comparison["pairs"]:
        names.setdefault(pair["over"], []).append(pair_label(pair, comparison))
    for over, labels in names.items():
        if over is not None:
            whose = f" ({', '.join(labels)})" if len(names) > 1 else ""
            how = "Student's t" if over == "seeds" else f"bootstrap, {NUM_RESAMPLES:,} resamples"
            lines.append(f"95 % intervals ({how}) speak of {TO_OTHERS[over]}{whose}.")
    summaries: list[dict[str, Any]] = [*comparison["rows"], *comparison["pairs"]]
    numbers = {len(each["seeds"]) for each in summaries if each["over"] == "seeds and test images"}
    fewest = min(numbers & COVERAGE.keys(), default=FEW)
    if fewest < FEW:
        share = f"where seeds alone vary, about {100 * COVERAGE[fewest]:.0f} % of them hold the mean"
        lines.append(f"Bootstrap intervals of {fewest} seeds can be too narrow: {share}.")
    return lines


def label(key: Summary, comparison: Summary) -> str:
    """Return how a row is called: its stage, after its setting where there are several."""
    is_single = len({row["setting"] for row in comparison["rows"]}) == 1
    return title(key["stage"]) if is_single else f"{key['setting']}: {title(key['stage'])}"


def pair_label(pair: Summary, comparison: Summary) -> str:
    """Return how a pair is called, the second row minus the first."""
    first, second = pair["first"], pair["second"]
    is_within = first["setting"] == second["setting"]
    return f"{label(second, comparison)} − {title(first['stage']) if is_within else label(first, comparison)}"


def title(stage: str) -> str:
    """Return how a stage is called."""
    return (TITLES | ENDS).get(stage, stage)


def count(number: float | None) -> str:
    """Return a number of things, a dash where there is none."""
    return "–" if number is None else f"{number:,.0f}"
