"""How a study reports: means and spreads, tables in Markdown."""

import statistics
from collections.abc import Sequence

MIN_WIDTH = 3
"""Of a column: a rule of ``:`` alone, without a dash, would be no table."""


def mean_and_spread(values: Sequence[float]) -> tuple[float, float | None]:
    """Return the mean and the sample standard deviation, ``None`` where there is one value alone."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def percent_with_spread(values: Sequence[float]) -> str:
    """Return fractions as per cent: ``91.2 ± 0.4``, without the spread where there is one value alone."""
    mean, spread = mean_and_spread(values)
    return f"{100 * mean:.1f}" + ("" if spread is None else f" ± {100 * spread:.1f}")


def markdown_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table whose first column is aligned at the left and whose others at the right."""
    widths = [max(MIN_WIDTH, *map(len, column)) for column in zip(headings, *rows, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    aligned = [
        [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        for row in (headings, *rows)
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in (aligned[0], rule, *aligned[1:]))
