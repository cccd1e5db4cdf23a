"""What the pixels of a mask file mean: a value or a colour for each class, 255 for those to be ignored."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image

from datamodules.sources.decoding import open_image, refusal
from datamodules.sources.source import IGNORE_INDEX

IGNORE = "ignore"
"""Name of the colour, in a file of classes, of pixels to be ignored."""

VALUE_MODES = ("1", "L", "P", "I", "I;16")
"""Pillow's modes of masks with a number a pixel; those of ``P`` point into a palette, which does not matter here."""


class MaskCoding(Protocol):
    """Turns a decoded mask into classes."""

    def classes_of(self, path: Path, image: Image.Image) -> NDArray[np.uint8]:
        """Return ``(h, w)`` class indices, 255 where a pixel is to be ignored; ``path`` is for errors.

        Raises:
            ValueError: a pixel is of no class.
        """
        ...


@dataclass(frozen=True)
class ValueCoding:
    """Masks whose pixels are numbers: indexed or grey PNG.

    Attributes:
        classes: class index, or 255, of each number that may occur; 255 itself is always ignored.
    """

    classes: Mapping[int, int]

    def classes_of(self, path: Path, image: Image.Image) -> NDArray[np.uint8]:
        """Return ``(h, w)`` class indices; see ``MaskCoding``."""
        if image.mode not in VALUE_MODES:
            raise ValueError(
                f"{path}: a mask of Pillow's mode {image.mode}, expected an indexed or grey PNG; if its colours mean "
                "classes, name them in --data.class_file: {class name: [red, green, blue]}"
            )
        values = np.asarray(image).astype(np.int64)
        table = np.full(IGNORE_INDEX + 1, -1)
        table[IGNORE_INDEX] = IGNORE_INDEX
        table[list(self.classes)] = list(self.classes.values())
        classes = np.where(values <= IGNORE_INDEX, table[values.clip(0, IGNORE_INDEX)], -1)
        require_known(path, classes, values, f"one of {brief(sorted(self.classes))}, or {IGNORE_INDEX} to be ignored")
        return classes.astype(np.uint8)


@dataclass(frozen=True)
class ColorCoding:
    """Masks whose colours mean classes, of whatever kind of PNG.

    Attributes:
        classes: class index, or 255 where it is to be ignored, of each red, green and blue.
    """

    classes: Mapping[tuple[int, int, int], int]

    def classes_of(self, path: Path, image: Image.Image) -> NDArray[np.uint8]:
        """Return ``(h, w)`` class indices; see ``MaskCoding``."""
        pixels = np.asarray(image.convert("RGB"))
        numbers = pixels.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
        known = np.array([red << 16 | green << 8 | blue for red, green, blue in self.classes])
        order = known.argsort()
        nearest = order[np.searchsorted(known[order], numbers).clip(max=len(known) - 1)]
        classes = np.where(known[nearest] == numbers, np.array(list(self.classes.values()))[nearest], -1)
        require_known(path, classes, pixels, f"one of the {len(known)} colours of --data.class_file")
        return classes.astype(np.uint8)


def require_known(path: Path, classes: NDArray[np.int64], pixels: NDArray[Any], expected: str) -> None:
    """Raise a ``ValueError`` naming file, value and place if a pixel is of no class: -1 in ``classes (h, w)``."""
    unknown = np.argwhere(classes < 0)
    if len(unknown):
        row, column = unknown[0].tolist()
        raise ValueError(
            f"{path}: the mask has {pixels[row, column].tolist()} in row {row}, column {column} ({len(unknown)} such "
            f"pixels), expected {expected}; correct the mask, or name that class too"
        )


def read_mask(path: Path, coding: MaskCoding, max_pixels: int) -> NDArray[np.uint8]:
    """Return the ``(h, w)`` class indices of a mask file, 255 where a pixel is to be ignored.

    Raises:
        ValueError: it is no PNG or damaged, or a pixel is of no class.
    """
    encoded = open_image(path, max_pixels)
    require_lossless(path, str(encoded.image.format))
    with refusal(path):
        encoded.image.load()
    return coding.classes_of(path, encoded.image)


def require_lossless(path: Path, kind: str) -> None:
    """Raise a ``ValueError`` unless a mask's kind of file is PNG."""
    if kind != "PNG":
        raise ValueError(
            f"{path}: the mask is a {kind} file, expected PNG: JPEG and WebP are lossy, they change values about every "
            "edge, and a changed value is another class; write the masks anew as PNG, from where they were made"
        )


def read_class_file(path: Path) -> tuple[tuple[str, ...], MaskCoding]:
    """Return the class names of a YAML or JSON file, and how masks are read by it.

    A list of names stands for the values 0, 1, ... of indexed or grey masks; a mapping ``{name: [red, green, blue]}``
    for colours, where those named ``ignore`` become 255.

    Raises:
        ValueError: the file is missing or is neither.
    """
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ValueError(f"--data.class_file {path}: cannot be read ({error}); expected YAML or JSON") from error
    if not isinstance(content, list | dict) or not all(type(name) in (str, int) for name in content):
        raise ValueError(
            f"--data.class_file {path}: expected a list of class names, or {{class name: [red, green, blue]}}, got "
            f"{brief([content])}; names such as yes and no need quotes"
        )
    names = tuple(str(name) for name in content if not (isinstance(content, dict) and name == IGNORE))
    if not 2 <= len(names) <= IGNORE_INDEX or len(set(names)) < len(names):
        raise ValueError(
            f"--data.class_file {path}: got the classes {brief(names)}, expected 2 to {IGNORE_INDEX}, each named once"
        )
    if isinstance(content, list):
        return names, ValueCoding({value: value for value in range(len(names))})
    return names, ColorCoding(colors_of(path, content, names))


def colors_of(path: Path, content: dict[Any, Any], names: tuple[str, ...]) -> dict[tuple[int, int, int], int]:
    """Return the class of each colour.

    Raises:
        ValueError: a colour is none, or stands for two classes.
    """
    classes: dict[tuple[int, int, int], int] = {}
    for name, color in content.items():
        levels = color if isinstance(color, list) else []
        if len(levels) != 3 or not all(type(level) is int and 0 <= level <= 255 for level in levels):
            raise ValueError(
                f"--data.class_file {path}: {name} has the colour {color!r}, expected red, green and blue in 0..255, "
                "such as [128, 0, 0]"
            )
        if tuple(levels) in classes:
            raise ValueError(f"--data.class_file {path}: the colour {color} stands for two classes, {name} being one")
        classes[levels[0], levels[1], levels[2]] = IGNORE_INDEX if name == IGNORE else names.index(str(name))
    return classes


def brief(values: Any) -> str:
    """Return the first few values as text."""
    few = [str(value)[:40] for value in list(values)[:10]]
    return ", ".join(few) + (", ..." if len(values) > 10 else "")
