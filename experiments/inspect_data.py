"""A contact sheet: what learners see of a source."""

import dataclasses
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from datamodules.batch import make_batch
from datamodules.loaders import SampleDataset
from datamodules.sources.source import Samples, Source
from datamodules.views import View
from experiments.building import build_labeled, build_source, build_view
from experiments.commands import InspectDataCommand
from experiments.mask_plots import BACKGROUND, overlay
from experiments.run import Run

EPOCHS = 3
"""How many views of each policy are drawn, one an epoch."""


def run(command: InspectDataCommand) -> Path:
    """Draw originals and views of some training samples, say where the picture lies, return its path."""
    pipeline = Run("inspect-data", command)
    source = build_source(command.data)
    data = build_labeled(source, command)
    chosen = data.train.select(spread(data.train.targets, command.num_samples))
    background = source.class_names.index(BACKGROUND) if BACKGROUND in source.class_names else None
    columns = {"original": read(chosen, command.seed, data.view, background=background)}
    for policy in ("weak", "strong"):
        augmentation = dataclasses.replace(command.data.augmentation, policy=policy)
        view = build_view(augmentation, command.seed, source)
        for epoch in range(EPOCHS):
            columns[f"{policy}, epoch {epoch}"] = read(chosen, command.seed, view, epoch, background)
    path = pipeline.directory / "contact_sheet.png"
    draw(source, chosen, columns).savefig(path, dpi=110)
    pools = {"labelled": data.train, "validation": data.validation, "test": data.test, "unlabelled": data.pool}
    counts = ", ".join(f"{len(samples):,} {name}" for name, samples in pools.items() if samples is not None)
    pipeline.say(f"{source.name}: {counts}; {source.num_classes} classes ({source.citation})\n{path}")
    return path


def spread(targets: Tensor, num_samples: int) -> Tensor:
    """Return indices of ``num_samples`` samples, of as many classes as there are, in turn."""
    by_class = [(targets == label).nonzero().squeeze(1) for label in targets.unique()]  # type: ignore[no-untyped-call]
    turns = [indices[turn] for turn in range(num_samples) for indices in by_class if turn < len(indices)]
    return torch.stack(turns[:num_samples])


def read(samples: Samples, seed: int, view: View, epoch: int | None = None, background: int | None = None) -> Tensor:
    """Return ``(N, C, H, W)`` images in ``[0, 1]`` as training reads them in an epoch, or as evaluation does.

    Masks lie over their images, which are then larger and in colour; the class ``background`` is not tinted.
    """
    epochs = None if epoch is None else torch.full((len(samples),), epoch)
    pixels = SampleDataset(samples, seed).read(torch.arange(len(samples)), epochs)
    images, targets, _ = make_batch(pixels, view)
    if targets.ndim == 1:
        return images
    grey_or_color = (255 * images).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    masked = [
        overlay(*both, background=background)
        for both in zip(grey_or_color, targets.to(torch.uint8).numpy(), strict=True)
    ]
    return torch.from_numpy(np.stack(masked)).permute(0, 3, 1, 2) / 255


def draw(source: Source, samples: Samples, columns: dict[str, Tensor]) -> Figure:
    """Return a figure with a row a sample and a column a view."""
    figure = Figure(figsize=(1.25 * len(columns) + 1.2, 1.3 * len(samples) + 0.5), layout="constrained")
    axes = figure.subplots(len(samples), len(columns), squeeze=False)
    for column, (title, images) in enumerate(columns.items()):
        axes[0, column].set_title(title, fontsize=9)
        for row, image in enumerate(images):
            axis = axes[row, column]
            axis.imshow(image.permute(1, 2, 0).squeeze(-1).numpy(), cmap="gray", vmin=0, vmax=1)
            axis.set_xticks([])
            axis.set_yticks([])
    for row, classes in enumerate(samples.read_targets(torch.arange(len(samples)))):
        names = [source.class_names[label] for label in classes.unique().tolist() if 0 <= label < source.num_classes]
        axes[row, 0].set_ylabel("\n".join(names), rotation=0, ha="right", va="center", fontsize=9)
    figure.suptitle(f"{source.name}: what a learner sees (labels at the left)", fontsize=10)
    return figure
