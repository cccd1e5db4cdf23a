"""Settings compared over several seeds: the tables, and the paired differences with their intervals."""

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.audit_plots import GREY
from experiments.comparisons.tables import notes, pair_cells, pair_label, row_cells
from experiments.reports.document import Block, Bullets, Chart, Charts, Paragraph, Section, Table
from experiments.reports.drawing import WIDE, as_chart, color_of, new_figure, printable
from experiments.reports.reading import Comparison
from experiments.tables import MEASURES

LONGEST_PAIR = 70


def comparison_blocks(comparison: Comparison) -> list[Block]:
    """Return what a comparison found."""
    content = comparison.content
    measure = MEASURES[content["measure"]][0]
    blocks: list[Block] = [
        Paragraph(f"Settings compared by {measure} on test; the number of seeds is {len(content['seeds'])}."),
        Section("Settings and stages", [Table(*row_cells(content))]),
    ]
    if content["pairs"]:
        chart = draw_pairs(content["pairs"], [pair_label(pair, content) for pair in content["pairs"]], measure)
        blocks.append(Section("Paired differences", [Charts([chart]), Table(*pair_cells(content))]))
    else:
        blocks.append(Paragraph("No paired differences: there is nothing to compare with.", is_note=True))
    return [*blocks, Bullets(notes(content))]


def draw_pairs(pairs: Sequence[Mapping[str, Any]], names: Sequence[str], measure: str) -> Chart:
    """Draw a point with its interval for each pair, and the line of no difference."""
    figure = new_figure(0.9 + 0.34 * len(pairs), WIDE)
    axis = figure.subplots()
    for row, pair in enumerate(pairs):
        color = color_of(0) if pair["distinguishable"] else GREY
        if pair["low"] is not None:
            axis.plot([100 * pair["low"], 100 * pair["high"]], [row, row], color=color, linewidth=2)
        axis.plot([100 * pair["difference"]], [row], "o", color=color, markersize=6)
    axis.axvline(0, color="black", linewidth=0.9, linestyle="--")
    axis.set_yticks(range(len(pairs)), [printable(name, LONGEST_PAIR) for name in names])
    axis.set_ylim(len(pairs) - 0.5, -0.5)
    axis.set_xlabel(f"difference of {measure} on test, points (bars: 95 % intervals; grey: not distinguishable from 0)")
    text = "Differences in points: " + "; ".join(
        f"{name}: {100 * pair['difference']:+.2f}" for name, pair in zip(names, pairs, strict=True)
    )
    return as_chart("differences", figure, text, is_wide=True)
