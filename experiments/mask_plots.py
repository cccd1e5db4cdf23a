"""Pictures of masks: overlays with a legend, IoU class by class, the images that went worst."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from datamodules.mask_files import palette
from datamodules.sources.source import IGNORE_INDEX

OPACITY = 0.55
"""Of a mask over its image."""
SMALLEST_SIDE = 256
"""Pixels to which smaller images are enlarged before a mask is laid over them, so that outlines are thin."""
LARGEST_SIDE = 1200
"""Pixels of a picture's panel; larger images are thinned out."""
DPI = 110
PANEL, PANEL_ALONE = 2.6, 4.0
"""Width in inches of a panel of a sheet, and the least of one of a single image, whose pixels are all shown."""
SHAPES = (0.2, 2.5)
"""Least and largest height of a panel over its width; narrower images have white beside them."""
LETTER = 0.08
"""Width in inches of a letter of titles and legends, or a little more."""
MOST_NAMES = 40
"""Classes of a legend, and rows of one column of bars."""
BACKGROUND = "background"
"""Name of the class that is not tinted."""
BLUE, GREY, ORANGE = "#0072B2", "#7F7F7F", "#D55E00"


@dataclass(frozen=True)
class MaskedImage:
    """An image with its masks.

    Attributes:
        pixels: ``(H, W)`` grey or ``(H, W, 3)`` uint8.
        predicted: classes ``(H, W)`` uint8.
        true: classes ``(H, W)`` uint8, 255 where unknown; ``None`` where there is no truth at all.
        title: such as the image's name.
    """

    pixels: NDArray[np.uint8]
    predicted: NDArray[np.uint8]
    true: NDArray[np.uint8] | None = None
    title: str = ""


def overlay(pixels: NDArray[np.uint8], classes: NDArray[np.uint8], background: int | None = None) -> NDArray[np.uint8]:
    """Return ``(h, w, 3)`` uint8: the image in the colours of its classes, outlined; grey stripes where they are 255.

    Its own colours give way to grey there, so that classes look as in a legend. Images are enlarged or thinned out by
    whole factors to sides that are good to look at.

    Args:
        pixels: ``(H, W)`` grey or ``(H, W, 3)`` uint8.
        classes: ``(H, W)`` uint8.
        background: the class that stays as it is, if any.
    """
    colored, classes = as_color(fit(pixels)), fit(classes)
    tinted = classes != (IGNORE_INDEX if background is None else background)
    grey = colored[tinted].mean(axis=1, keepdims=True)
    colored[tinted] = grey + OPACITY * (palette()[classes[tinted]] - grey)
    rows, columns = np.indices(classes.shape)
    stripes = np.where((rows + columns) // 6 % 2, 96.0, 160.0)
    ignored = classes == IGNORE_INDEX
    colored[ignored] = stripes[ignored, None]
    colored[outlines(classes)] = 255
    return np.rint(colored).astype(np.uint8)


def fit(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an image ``(H, W, ...)`` with every pixel repeated, or some left out, so that it is good to look at."""
    side = max(image.shape[:2])
    factor, step = -(-SMALLEST_SIDE // side), -(-side // LARGEST_SIDE)
    return image[::step, ::step].repeat(factor, axis=0).repeat(factor, axis=1)


def as_color(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return ``(H, W, 3)`` float32 of grey ``(H, W)``, ``(H, W, 1)`` or colour pixels."""
    layers = pixels if pixels.ndim == 3 else pixels[..., None]
    return np.broadcast_to(layers, (*layers.shape[:2], 3)).astype(np.float32)


def outlines(classes: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return where a pixel of ``(H, W)`` differs from one beside, above or below it."""
    edges = np.zeros(classes.shape, bool)
    below, beside = classes[:-1] != classes[1:], classes[:, :-1] != classes[:, 1:]
    edges[:-1] |= below
    edges[1:] |= below
    edges[:, :-1] |= beside
    edges[:, 1:] |= beside
    return edges


def draw_masks(path: Path, images: Sequence[MaskedImage], class_names: Sequence[str]) -> None:
    """Write the picture of ``mask_figure`` as a PNG: of one prediction, or of those that went worst.

    Args:
        path: the picture.
        images: at least one, in the order in which they are shown; titles may say how bad they are.
        class_names: ``K`` names, in the order of the classes; one named ``background`` is not tinted.
    """
    mask_figure(images, class_names).savefig(path)


def mask_figure(images: Sequence[MaskedImage], class_names: Sequence[str]) -> Figure:
    """Return a figure with a row an image: the image, the truth where any is known, the prediction, the errors."""
    panels = [panels_of(image, class_names) for image in images]
    num_columns = max(map(len, panels))
    panel = PANEL if len(images) > 1 else max(PANEL_ALONE, fit(images[0].pixels).shape[1] / DPI)
    width = panel * num_columns
    legend = legend_entries(images, class_names)
    longest = max((len(str(entry.get_label())) for entry in legend), default=0)
    legend_columns = max(1, min(len(legend), int(width / (LETTER * longest + 0.5))))  # half an inch has the patch
    shapes = np.clip([image.pixels.shape[0] / image.pixels.shape[1] for image in images], *SHAPES)
    height = sum(panel * shape + 0.3 for shape in shapes)
    height += 0.2 * (-(-len(legend) // legend_columns) + 1)
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")
    axes = figure.subplots(len(images), num_columns, squeeze=False)
    for row, image, contents in zip(axes, images, panels, strict=True):
        for axis in row[len(contents) :]:
            axis.set_visible(False)
        for axis, (name, content) in zip(row, contents.items(), strict=False):
            title = shorten(image.title, int(panel / LETTER))
            show_panel(axis, content, title if name == "image" and title else name)
    place = "outside lower center"
    drawn = figure.legend(handles=legend, loc=place, ncols=legend_columns, frameon=False, fontsize=8, handlelength=1)
    for text in drawn.get_texts():
        text.set_parse_math(False)  # names may hold dollar signs
    return figure


def show_panel(axis: Axes, content: NDArray[np.uint8], title: str) -> None:
    """Show one image without ticks."""
    axis.imshow(content, interpolation="antialiased")
    axis.set_title(title, fontsize=8, parse_math=False)
    axis.set_xticks([])
    axis.set_yticks([])


def panels_of(image: MaskedImage, class_names: Sequence[str]) -> dict[str, NDArray[np.uint8]]:
    """Return what is shown of an image, by name: ``(h, w, 3)`` uint8 each."""
    background = list(class_names).index(BACKGROUND) if BACKGROUND in class_names else None
    panels = {"image": as_color(fit(image.pixels)).astype(np.uint8)}
    if image.true is not None:
        panels["truth"] = overlay(image.pixels, image.true, background)
    panels["prediction"] = overlay(image.pixels, image.predicted, background)
    if image.true is not None:
        panels["errors (red)"] = errors(image.pixels, image.predicted, image.true)
    return panels


def errors(pixels: NDArray[np.uint8], predicted: NDArray[np.uint8], true: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return ``(h, w, 3)`` uint8: the image dark and grey, red where the classes differ and the true one is known."""
    dark = 0.5 * as_color(fit(pixels)).mean(axis=2, keepdims=True).repeat(3, axis=2)
    wrong = fit(((predicted != true) & (true != IGNORE_INDEX)).astype(np.uint8)) == 1
    dark[wrong] = 0.3 * dark[wrong] + 0.7 * np.array([255, 60, 30])
    picture: NDArray[np.uint8] = dark.astype(np.uint8)
    return picture


def legend_entries(images: Sequence[MaskedImage], class_names: Sequence[str]) -> list[Patch]:
    """Return a coloured patch with its name for each class that is shown but the background, in their order."""
    masks = [fit(mask) for image in images for mask in (image.predicted, image.true) if mask is not None]
    present = np.unique(np.concatenate([np.unique(mask) for mask in masks]))
    shown = [int(label) for label in present if label < len(class_names) and class_names[label] != BACKGROUND]
    colors = palette() / 255
    entries = [
        Patch(facecolor=colors[label], edgecolor="0.6", label=shorten(class_names[label]))
        for label in shown[:MOST_NAMES]
    ]
    if len(shown) > MOST_NAMES:
        entries.append(Patch(facecolor="none", label=f"and {len(shown) - MOST_NAMES} more"))
    if IGNORE_INDEX in present:
        entries.append(Patch(facecolor="0.6", edgecolor="0.4", hatch="////", label="unknown"))
    return entries


def draw_ious(path: Path, ious: Sequence[float], class_names: Sequence[str]) -> None:
    """Write the picture of ``iou_figure`` as a PNG.

    Args:
        path: the picture.
        ious: of each class, NaN where it neither occurs nor is predicted.
        class_names: ``K`` names, in the order of the classes.
    """
    iou_figure(ious, class_names).savefig(path)


def iou_figure(ious: Sequence[float], class_names: Sequence[str]) -> Figure:
    """Return a figure with a bar a class, in the order of the classes, and their mean."""
    values = 100 * np.asarray(ious, float)
    num_columns = -(-len(values) // MOST_NAMES)
    num_rows = -(-len(values) // num_columns)
    size = (5.5 * num_columns, 0.24 * num_rows + 1.2)
    figure = Figure(figsize=size, dpi=DPI, layout="constrained", facecolor="white")
    axes = figure.subplots(1, num_columns, squeeze=False)[0]
    mean = float(np.nanmean(values)) if not np.isnan(values).all() else 0.0
    for column, axis in enumerate(axes):
        rows = slice(column * num_rows, (column + 1) * num_rows)
        draw_iou_bars(axis, values[rows], class_names[rows], mean)
        axis.set_ylim(num_rows - 0.4, -0.6)
    figure.suptitle(f"IoU of each class; mean {mean:.1f} %", fontsize=10)
    return figure


def draw_iou_bars(axis: Axes, values: NDArray[np.float64], names: Sequence[str], mean: float) -> None:
    """Draw one column of bars with their names and values, and a line at the mean of all classes."""
    axis.barh(range(len(values)), np.nan_to_num(values), 0.7, color=BLUE)
    axis.axvline(mean, color=ORANGE, linestyle="--", linewidth=1)
    paper = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}  # so that the line at the mean does not cross text
    for row, value in enumerate(values):
        text, color = ("does not occur", GREY) if np.isnan(value) else (f"{value:.1f}", "black")
        axis.text(np.nan_to_num(value) + 1, row, text, va="center", fontsize=7, color=color, bbox=paper)
    axis.set_yticks(range(len(values)), [shorten(name) for name in names], fontsize=8, parse_math=False)
    axis.set_xlim(0, 112)
    axis.set_xticks(range(0, 101, 20))
    axis.tick_params("x", labelsize=8)
    axis.set_xlabel("IoU (%)", fontsize=8)
    axis.spines[["top", "right"]].set_visible(False)


def shorten(name: str, longest: int = 24) -> str:
    """Return a name as it can be drawn: cut where it is too long, with marks for bytes that are no text."""
    name = name.encode(errors="replace").decode()
    return name if len(name) <= longest else f"{name[: longest - 1]}…"
