"""A picture of the hidden-truth audits of a self-training loop."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

BLUE, SKY, ORANGE, GREEN, RED, GREY = "#0072B2", "#56B4E9", "#E69F00", "#009E73", "#D55E00", "#7F7F7F"
"""Told apart by colour-blind readers too (Wong 2011, Points of view: Color blindness)."""
WIDTH = 12.0
"""Of the picture, in inches."""
MOST_NAMES = 110
"""Names of so many classes are legible side by side."""
LONGEST_NAME = 24

Audit = Mapping[str, Any]


def draw_audit(path: Path, audits: Sequence[Audit], class_names: Sequence[str]) -> None:
    """Write the picture of ``audit_figure`` as a PNG.

    Args:
        path: the picture.
        audits: of each round, from the first on, as ``audit`` returns them.
        class_names: ``K`` names, in the order of the classes.
    """
    audit_figure(audits, class_names).savefig(path)


def audit_figure(audits: Sequence[Audit], class_names: Sequence[str]) -> Figure:
    """Return a figure with all rounds and the reliability of the last one above, the last one's classes below.

    What needs the true labels is left out where they are unknown.
    """
    last = audits[-1]
    above, below = ["shares"], ["counts"]
    if last["accuracy"] is not None:
        above, below = ["accuracy", "shares", "reliability"], ["classes", "counts"]
    rows = [above, [name.replace("reliability", "confidence") for name in above]]
    rows += [[name] * len(above) for name in below]
    heights = [2.6, 1.2] + [1.9] * len(below)
    figure = Figure(figsize=(WIDTH, sum(heights) + 1.2), dpi=110, layout="constrained", facecolor="white")
    axes: dict[str, Axes] = figure.subplot_mosaic(rows, height_ratios=heights)
    for name, axis in axes.items():
        DRAWINGS[name](axis, audits, class_names)
    for upper, lower in pairwise(below):
        axes[upper].sharex(axes[lower])
        axes[upper].tick_params(labelbottom=False)
        axes[upper].set_xlabel("")
    for axis in axes.values():
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="y", color="0.9")
        axis.set_axisbelow(True)
    return figure


def draw_accuracy(axis: Axes, audits: Sequence[Audit], class_names: Sequence[str]) -> None:
    """Draw how many pseudo-labels are right, of all and of those selected, round by round."""
    draw_lines(
        axis,
        {
            "all": (percents(audit["accuracy"] for audit in audits), BLUE, "o"),
            "selected": (percents(audit["accuracy_selected"] for audit in audits), ORANGE, "s"),
        },
    )
    put_title(axis, "Right pseudo-labels")
    axis.set_ylabel("accuracy (%)")


def draw_shares(axis: Axes, audits: Sequence[Audit], class_names: Sequence[str]) -> None:
    """Draw how many pseudo-labels are selected and have changed, and the calibration error, round by round."""
    pools = [sum(row["pool"] for row in audit["per_class"]) for audit in audits]  # samples, of masks pixels
    changed = [
        None if audit["changed"] is None else audit["changed"] / pool for audit, pool in zip(audits, pools, strict=True)
    ]
    lines = {
        "selected": (percents(audit["selected_share"] for audit in audits), ORANGE, "s"),
        "changed": (percents(changed), GREEN, "^"),
        "calibration error": (percents(audit["calibration_error"] for audit in audits), RED, "D"),
    }
    draw_lines(axis, {name: line for name, line in lines.items() if not np.isnan(line[0]).all()})
    axis.set_ylim(-3, 103)
    put_title(axis, "Pseudo-labels of the pool")
    axis.set_ylabel("share of the pool, error (%)")


def draw_lines(axis: Axes, lines: Mapping[str, tuple[NDArray[np.float64], str, str]]) -> None:
    """Draw values, a round each, as lines of a name, a colour and a marker."""
    number = max(len(values) for values, _, _ in lines.values())
    for name, (values, color, marker) in lines.items():
        axis.plot(range(1, number + 1), values, color=color, marker=marker, label=name)
    axis.set_xlim(0.7, number + 0.3)
    axis.set_xticks(range(1, number + 1, 1 + number // 12))
    axis.set_xlabel("round")


def draw_reliability(axis: Axes, audits: Sequence[Audit], class_names: Sequence[str]) -> None:
    """Draw the last round's accuracy against confidence, bin by bin (Guo et al. 2017, figure 1)."""
    bins = audits[-1]["reliability"]
    edges = np.linspace(0, 100, len(bins) + 1)
    accuracies = percents(row["accuracy"] for row in bins)
    axis.bar(edges[:-1], accuracies, 100 / len(bins), align="edge", color=SKY, edgecolor="white", label="bin")
    axis.plot([0, 100], [0, 100], color="black", linestyle="--", label="calibrated")
    axis.plot(percents(row["confidence"] for row in bins), accuracies, "o", color="black", ms=4, label="bin's mean")
    axis.set_xlim(0, 100)
    axis.set_ylim(0, 103)
    axis.tick_params(labelbottom=False)
    put_title(axis, f"Reliability, round {len(audits)}")
    axis.set_ylabel("accuracy (%)")


def draw_confidence(axis: Axes, audits: Sequence[Audit], class_names: Sequence[str]) -> None:
    """Draw how many pseudo-labels of the last round there are by confidence."""
    counts = [row["count"] for row in audits[-1]["reliability"]]
    edges = np.linspace(0, 100, len(counts) + 1)
    axis.bar(edges[:-1], counts, 100 / len(counts), align="edge", color=GREY, edgecolor="white")
    axis.set_yscale("log")
    axis.set_ylim(bottom=0.7)
    axis.set_xlim(0, 100)
    axis.set_xlabel("confidence (%)")
    axis.set_ylabel(unit_of(audits[-1]))


def draw_classes(axis: Axes, audits: Sequence[Audit], class_names: Sequence[str]) -> None:
    """Draw precision and recall of the last round's pseudo-labels, class by class."""
    rows = audits[-1]["per_class"]
    values = {
        "precision": percents(row["accuracy"] for row in rows),
        "recall": percents(row["recall"] for row in rows),
    }
    draw_bars(axis, values, (BLUE, ORANGE), class_names)
    axis.set_ylim(0, 103)
    put_title(axis, f"Right pseudo-labels by class, round {len(audits)}")
    axis.set_ylabel("precision, recall (%)")


def draw_counts(axis: Axes, audits: Sequence[Audit], class_names: Sequence[str]) -> None:
    """Draw how many of the last round's pseudo-labels there are of each class, and how many are selected."""
    rows = audits[-1]["per_class"]
    values = {
        "in the pool": np.array([row["pool"] for row in rows], float),
        "selected": np.array([row["selected"] for row in rows], float),
    }
    draw_bars(axis, values, (GREY, ORANGE), class_names)
    axis.set_ylabel(unit_of(audits[-1]))
    if "mean_iou" in audits[-1]:  # one class, the background, may have most of the pixels
        axis.set_yscale("symlog", linthresh=1)
    put_title(axis, f"Pseudo-labels by class, round {len(audits)}")


def unit_of(audit: Audit) -> str:
    """Return what an audit counts by class and confidence: that of masks has a mean IoU."""
    return "pixels" if "mean_iou" in audit else "samples"


def draw_bars(
    axis: Axes, values: Mapping[str, NDArray[np.float64]], colors: Sequence[str], class_names: Sequence[str]
) -> None:
    """Draw two bars a class with its name; of more classes than names are legible, values in falling order."""
    number = len(class_names)
    axis.set_xlim(-0.6, number - 0.4)
    if number > MOST_NAMES:
        for (name, heights), color in zip(values.items(), colors, strict=True):
            axis.plot(np.sort(heights[~np.isnan(heights)])[::-1], color=color, label=name)
        axis.set_xlabel("number of classes with at least so much")
        return
    for shift, (name, heights), color in zip((-0.2, 0.2), values.items(), colors, strict=True):
        axis.bar(np.arange(number) + shift, heights, 0.4, color=color, label=name)
    readable = [name.encode(errors="replace").decode() for name in class_names]  # folders may have any bytes
    short = [name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…" for name in readable]
    names = [name.replace("$", r"\$") for name in short]  # what lies between two of them would be a formula
    is_wide = number * max(map(len, names)) > 130
    axis.set_xticks(range(number), names, rotation=90 if is_wide else 0, fontsize=9 if number <= 50 else 6)
    axis.set_xlabel("class")


def put_title(axis: Axes, title: str) -> None:
    """Put the title above the axes and the legend between them, where no data lie."""
    axis.set_title(title, loc="left", pad=22)
    place: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (-0.01, 1), "borderaxespad": 0.2}
    axis.legend(**place, ncols=3, frameon=False, fontsize=8, columnspacing=1.2, handlelength=1.6)


def percents(fractions: Any) -> NDArray[np.float64]:
    """Return fractions as per cent, NaN for ``None``."""
    return 100 * np.array([np.nan if fraction is None else fraction for fraction in fractions], float)


DRAWINGS = {
    "accuracy": draw_accuracy,
    "shares": draw_shares,
    "reliability": draw_reliability,
    "confidence": draw_confidence,
    "classes": draw_classes,
    "counts": draw_counts,
}
"""What draws each panel."""
