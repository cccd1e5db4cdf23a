"""Scenes: real digits or garments over crops of real photographs, with masks that say which pixel shows which."""

from functools import partial
from pathlib import Path

import torch
from sklearn.datasets import load_sample_images
from torch import Tensor

from datamodules.sources.digits import CITATION as DIGITS_CITATION
from datamodules.sources.digits import digits
from datamodules.sources.mnist import FASHION_MNIST_CITATION, fashion_mnist
from datamodules.sources.scene_drawing import MAX_SIDE, MIN_SIDE, Material, draw_scenes
from datamodules.sources.source import MaskArray, PixelArray, Samples, Source
from datamodules.sources.statistics import channel_statistics

SCENES_PER_TEST_SCENE = 4
TRAIN_SHARE = 3 / 4
"""Share of each photograph, from its left edge, that is background of training scenes; the rest is of test scenes."""

DIGIT_COVERAGE, GARMENT_COVERAGE = 0.4, 0.06
"""Least intensity with which a pixel of an object covers the photograph."""


def digit_scenes(num_scenes: int = 2000, side: int = 64) -> Source:
    """Return scenes of one to three of scikit-learn's digits; classes are the background and the digits.

    Args:
        num_scenes: training scenes; a quarter as many more are for tests, of digits and parts of the photographs that
            no training scene has.
        side: height and width in pixels; digits have 0.41 to 0.64 of it.

    Raises:
        ValueError: a number is out of range.
    """
    return scenes_of("digit_scenes", digits(), DIGIT_COVERAGE, DIGITS_CITATION, num_scenes, side)


def fashion_scenes(root: Path | None = None, download: bool = False, num_scenes: int = 2000, side: int = 64) -> Source:
    """Return scenes of one to three garments of Fashion-MNIST, as ``digit_scenes`` of digits.

    Args:
        root: as for ``fashion_mnist``.
        download: likewise.
        num_scenes: as for ``digit_scenes``.
        side: likewise.

    Raises:
        ValueError: a number is out of range, or files of Fashion-MNIST are missing or damaged.
    """
    source = fashion_mnist(root, download)
    return scenes_of("fashion_scenes", source, GARMENT_COVERAGE, FASHION_MNIST_CITATION, num_scenes, side)


def scenes_of(name: str, objects: Source, coverage: float, citation: str, num_scenes: int, side: int) -> Source:
    """Return scenes of a source's grey images; those of its training split are in training scenes alone."""
    require_numbers(num_scenes, side)
    photographs = [torch.from_numpy(image.copy()).permute(2, 0, 1) for image in load_sample_images().images]
    borders = [round(TRAIN_SHARE * photograph.shape[2]) for photograph in photographs]
    left = [photograph[..., :border] for photograph, border in zip(photographs, borders, strict=True)]
    right = [photograph[..., border:] for photograph, border in zip(photographs, borders, strict=True)]
    draw = partial(samples_of, coverage=coverage, side=side)
    num_test = max(1, num_scenes // SCENES_PER_TEST_SCENE)
    # Even numbers are training scenes, odd ones test scenes: more scenes change none of those there were.
    train = draw(2 * torch.arange(num_scenes), objects.train, left)
    mean, std = channel_statistics(train)
    return Source(
        name=name,
        class_names=("background", *objects.class_names),
        citation=citation,
        train=train,
        test=draw(2 * torch.arange(num_test) + 1, objects.test, right),
        mean=mean,
        std=std,
    )


def samples_of(ids: Tensor, objects: Samples, photographs: list[Tensor], *, coverage: float, side: int) -> Samples:
    """Return the scenes numbered ``ids (N,)`` of some objects over some photographs."""
    grey = objects.images(torch.arange(len(objects)))
    material = Material(grey, objects.targets, photographs, coverage)
    pixels, masks = draw_scenes(material, ids, side)
    rows = torch.arange(len(ids))
    return Samples(PixelArray(pixels), rows, ids, torch.zeros_like(ids), masks=MaskArray(masks))


def require_numbers(num_scenes: int, side: int) -> None:
    """Raise a ``ValueError`` unless scenes like that can be drawn."""
    if num_scenes < 2:
        raise ValueError(f"data.num_scenes: got {num_scenes}, expected 2 or more training scenes")
    if not MIN_SIDE <= side <= MAX_SIDE:
        raise ValueError(f"data.side: got {side}, expected {MIN_SIDE} to {MAX_SIDE} pixels")
