"""How networks learned: training loss and the measure on validation, step by step."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from experiments.reports.document import Block, Chart, Charts, Paragraph, Section
from experiments.reports.drawing import as_chart, color_of, new_figure, printable
from experiments.reports.reading import ReportedRun, ReportedStage
from experiments.tables import MEASURES

MOST_LINES = 6
"""Of one drawing; more stages get one of their own each, on top of the others in grey."""
NUM_COLUMNS = 2
ROW_HEIGHT = 1.25
"""In inches."""
Lines: TypeAlias = dict[int, tuple[str, NDArray[np.float64], NDArray[np.float64]]]
"""By the stage's number: its title, steps and values ``(n,)``."""


def curves_section(run: ReportedRun) -> Section:
    """Return the curves of the stages that were trained."""
    stages = [stage for stage in run.stages if stage.curve]
    measure = MEASURES[run.measure][0]
    charts = [
        chart
        for column, label, name in (
            ("train/loss", "training loss", "training_loss"),
            (f"val/{run.measure}", f"{measure} on validation (%)", "validation"),
        )
        if (chart := draw_curves(stages, column, label, name)) is not None
    ]
    if not charts:
        nothing = "No curves: no metrics.csv of a trained stage is in this run's directory."
        return Section("Learning curves", [Paragraph(nothing, is_note=True)])
    blocks: list[Block] = [Charts(charts, "A point an epoch; the epoch that is best on validation was kept.")]
    return Section("Learning curves", blocks)


def draw_curves(stages: Sequence[ReportedStage], column: str, label: str, name: str) -> Chart | None:
    """Draw a column of ``metrics.csv`` against the step; ``None`` where no stage has it."""
    factor = 1 if "loss" in column else 100
    lines = {
        index: (stage.title, steps, factor * values)
        for index, stage in enumerate(stages)
        for steps, values in [series(stage, column)]
        if len(steps)
    }
    if not lines:
        return None
    text = f"{label} against the training step: " + ", ".join(
        f"{title} ends at {values[-1]:.3g}" for title, _, values in lines.values()
    )
    draw = draw_together if len(lines) <= MOST_LINES else draw_one_by_one
    figure = draw(lines)
    figure.suptitle(label, x=0.02, ha="left", fontsize=9)
    return as_chart(name, figure, text)


def draw_together(lines: Lines) -> Figure:
    """Draw a line a stage, with a legend below."""
    figure = new_figure(3.0 + 0.09 * len(lines))
    axis = figure.subplots()
    for index, (title, steps, values) in lines.items():
        axis.plot(steps, values, color=color_of(index), marker=".", markersize=4, linewidth=1.4, label=printable(title))
    axis.set_xlabel("step")
    if len(lines) > 1:
        figure.legend(loc="outside lower center", ncols=2)
    return figure


def draw_one_by_one(lines: Lines) -> Figure:
    """Draw axes a stage, its line on top of all others' in grey."""
    num_rows = -(-len(lines) // NUM_COLUMNS)
    figure = new_figure(ROW_HEIGHT * num_rows + 0.5)
    grid = figure.subplots(num_rows, NUM_COLUMNS, sharex=True, sharey=True, squeeze=False)
    for axis, (own, (title, _, _)) in zip(grid.flat, lines.items(), strict=False):
        for index, (_, steps, values) in sorted(lines.items(), key=lambda line: line[0] == own):
            color, width, order = (color_of(own), 1.6, 3) if index == own else ("#8A8A8A", 0.6, 2)
            axis.plot(steps, values, color=color, linewidth=width, zorder=order, alpha=1 if index == own else 0.6)
        axis.set_title(printable(title), fontsize=8)
    for axis in grid.flat[len(lines) :]:
        axis.set_visible(False)
    figure.supxlabel("step", fontsize=8.5)
    return figure


def series(stage: ReportedStage, column: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the steps ``(n,)`` at which a column has values, and these."""
    rows = [(row["step"], row[column]) for row in stage.curve if column in row and "step" in row]
    steps, values = np.array(rows, float).reshape(-1, 2).T
    return steps, values
