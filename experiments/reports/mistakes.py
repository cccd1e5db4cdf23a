"""What a network takes for what, how far its confidence can be trusted, and images to look at."""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from numpy.typing import NDArray

from experiments.audit import calibration_error, confidence_bins
from experiments.audit_plots import BLUE, RED, draw_confidence, draw_reliability
from experiments.prediction_tables import Example, Integers, Predictions
from experiments.reports.document import Block, Chart, Charts, Gallery, Paragraph, Section, Table
from experiments.reports.drawing import as_chart, new_figure, printable
from experiments.reports.reading import ReportedStage

MOST_NUMBERS = 12
"""Classes of which every cell says its share."""
MOST_NAMES = 40
"""Classes whose names are legible along an axis."""
ROOM = 44
"""Letters that have room below the matrix."""
MOST_PAIRS = 10
KINDS = {"confident_mistake": "Confident mistakes", "least_sure": "What it is least sure of"}


def mistakes_section(stage: ReportedStage) -> Section:
    """Return the confusion matrix, the most confused classes, the reliability diagram, as far as they can be had."""
    title, unit = f"Where “{stage.title}” errs", "images"
    if stage.confusion is None:
        nothing = "No confusion matrix and no reliability diagram: the run has kept no predictions of its test images."
        return Section(title, [Paragraph(nothing, is_note=True)])
    names, matrix = stage.confusion
    charts = [draw_confusion(names, matrix)]
    if stage.predictions is None:
        unit = "pixels"
    elif stage.predictions.known.any():
        charts.append(draw_calibration(stage.predictions))
    caption = "Blue: right; orange: taken for another class; the stronger, the larger the share of the true class."
    blocks: list[Block] = [Charts(charts, caption)]
    pairs = confused_pairs(names, matrix, unit)
    return Section(title, [*blocks, pairs] if pairs.rows else blocks)


def draw_confusion(names: Sequence[str], matrix: Integers) -> Chart:
    """Draw the shares of each true class, a row, by predicted class, a column."""
    totals = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(matrix, totals, out=np.zeros(matrix.shape), where=totals > 0)
    number = len(names)
    figure = new_figure(height=4.4 if number <= MOST_NUMBERS else 5.0)
    axis = figure.subplots()
    axis.imshow(in_two_colors(shares), interpolation="none", aspect="equal")
    axis.grid(visible=False)
    if number <= MOST_NUMBERS:
        for row, column in np.argwhere(matrix > 0):
            text = f"{100 * shares[row, column]:.0f}" if shares[row, column] >= 0.005 else "<1"
            axis.text(column, row, text, ha="center", va="center", fontsize=7.5)
    name_classes(axis, names)
    axis.set_xlabel("predicted class")
    axis.set_ylabel("true class")
    axis.set_title("of each true class (%)" if number <= MOST_NUMBERS else "confusion matrix")
    right = np.trace(matrix) / max(1, matrix.sum())
    return as_chart(
        "confusion", figure, f"Confusion matrix of {number} classes: {100 * right:.2f} % lie on the diagonal"
    )


def in_two_colors(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``(K, K, 4)`` colours in 0..1: blue on the diagonal, orange beside it, more opaque the larger the share.

    Opacity goes with the root of the share, so that rare mistakes are seen too.
    """
    colors = np.empty((*shares.shape, 4))
    for mask, color in ((np.eye(len(shares), dtype=bool), BLUE), (~np.eye(len(shares), dtype=bool), RED)):
        colors[mask, :3] = to_rgb(color)
    colors[..., 3] = 0.75 * np.sqrt(shares)
    return colors


def name_classes(axis: Axes, names: Sequence[str]) -> None:
    """Write the classes' names along both axes, of more than are legible their indices."""
    if len(names) > MOST_NAMES:
        return
    short = [printable(name, 14) for name in names]
    is_long = len(short) * max(map(len, short)) > ROOM
    size = 8 if len(names) <= MOST_NUMBERS else 5.5
    axis.set_xticks(range(len(names)), short, rotation=90 if is_long else 0, fontsize=size)
    axis.set_yticks(range(len(names)), short, fontsize=size)


def confused_pairs(names: Sequence[str], matrix: Integers, unit: str) -> Table:
    """Return a table of the mistakes that are made most often."""
    mistakes = matrix - np.diag(np.diag(matrix))
    order = np.argsort(-mistakes, axis=None, kind="stable")[:MOST_PAIRS]
    rows = [
        [names[true], names[predicted], f"{count:,}", f"{100 * count / matrix[true].sum():.1f}"]
        for true, predicted in zip(*np.unravel_index(order, matrix.shape), strict=True)
        if (count := int(mistakes[true, predicted]))
    ]
    headings = ["true class", "taken for", unit, "of the true class, %"]
    return Table(headings, rows, num_text_columns=2, caption="The most frequent mistakes")


def draw_calibration(predictions: Predictions) -> Chart:
    """Draw accuracy against confidence in 15 bins, and how many images are in each (Guo et al. 2017)."""
    known = predictions.known
    right = torch.from_numpy(predictions.correct[known])
    bins = confidence_bins(torch.from_numpy(predictions.confidences[known]), torch.ones_like(right), right)
    error = f"calibration error {100 * calibration_error(bins):.2f} %"
    figure = new_figure(height=4.4)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[2.4, 1])
    draw_reliability(above, [{"reliability": bins}], predictions.class_names)
    above.set_title(f"reliability: {error}", pad=22)
    draw_confidence(below, [{"reliability": bins}], predictions.class_names)
    below.set_ylabel("images")
    return as_chart("reliability", figure, f"Accuracy against confidence in {len(bins)} bins: expected {error}")


def examples_section(stage: ReportedStage) -> Section:
    """Return the images that a network gets wrong with confidence, and those it is least sure of."""
    title = f"Examples of “{stage.title}”"
    if not stage.examples or stage.predictions is None:
        return Section(title, [Paragraph("No examples: the run has kept no images.", is_note=True)])
    blocks: list[Block] = []
    for kind, heading in KINDS.items():
        chosen = [example for example in stage.examples if example.kind == kind]
        if chosen:
            names = stage.predictions.class_names
            items = [(example.image, describe(example, names)) for example in chosen]
            blocks.append(Section(heading, [Gallery(kind, items)]))
    return Section(title, blocks)


def describe(example: Example, class_names: Sequence[str]) -> list[str]:
    """Return the lines below an example."""
    true = class_names[example.target] if example.target >= 0 else "unknown"
    predicted, confidence = class_names[example.label], f"{100 * example.confidence:.1f} %"
    return [f"true: {true}", f"predicted: {predicted}", f"sure: {confidence}", f"id {example.id}"]
