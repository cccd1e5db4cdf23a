"""Masks as files: indexed PNG of classes, grey PNG of confidences."""

import io
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from datamodules.sources import mask_coding

LARGEST_IMAGE = 1 << 28
"""Pixels of a mask that is read back; 6000×4000 have a tenth of it."""
COMPRESSION = 1
"""Of PNG, 0 to 9; confidences of 256×256 take 11 ms, and 29 ms with the usual 6 in files 12 % smaller."""


def palette() -> NDArray[np.uint8]:
    """Return ``(256, 3)`` colours, one a class: the PASCAL VOC colour map (Everingham et al. 2010).

    The bits of a class are dealt to red, green and blue in turn, from their highest bits on. 0 is black, 255 pale
    yellow.
    """
    classes = np.arange(256)
    colors = np.zeros((256, 3), np.uint8)
    for position in range(8):
        for channel in range(3):
            bit = classes >> (3 * position + channel) & 1
            colors[:, channel] |= (bit << (7 - position)).astype(np.uint8)
    return colors


def write_mask(path: Path, classes: NDArray[np.uint8]) -> None:
    """Write classes ``(H, W)`` as an indexed PNG in the colours of ``palette``, atomically."""
    assert classes.dtype == np.uint8, "a mask holds bytes, 255 where it is to be ignored"
    image = Image.fromarray(classes)
    image.putpalette(palette().tobytes())
    write_png(path, image)


def read_mask(path: Path, num_classes: int) -> NDArray[np.uint8]:
    """Return the classes ``(H, W)`` of an indexed or grey PNG, 255 where they are to be ignored.

    Raises:
        ValueError: the file is no PNG (JPEG changes values about edges), is damaged, or holds other values.
    """
    coding = mask_coding.ValueCoding({label: label for label in range(num_classes)})
    return mask_coding.read_mask(path, coding, LARGEST_IMAGE)


def write_confidences(path: Path, confidences: NDArray[np.floating]) -> None:
    """Write confidences ``(H, W)`` in 0..1 as a grey PNG of 8 bits, atomically; they are rounded to 1/255."""
    write_png(path, Image.fromarray(np.rint(confidences * np.float32(255)).astype(np.uint8)))


def read_confidences(path: Path) -> NDArray[np.float32]:
    """Return the confidences ``(H, W)`` float32 in 0..1 of a PNG of ``write_confidences``.

    Raises:
        ValueError: the file is no PNG, or is damaged.
    """
    return read_confidence_levels(path).astype(np.float32) / np.float32(255)


def read_confidence_levels(path: Path) -> NDArray[np.uint8]:
    """Return the confidences ``(H, W)`` of a PNG of ``write_confidences`` as they are stored: 255ths.

    Raises:
        ValueError: the file is no PNG, or is damaged.
    """
    return mask_coding.read_mask(path, ConfidenceCoding(), LARGEST_IMAGE)


class ConfidenceCoding:
    """What the pixels of a file of confidences mean, as a ``MaskCoding``: 255ths, whatever they are."""

    def classes_of(self, path: Path, image: Image.Image) -> NDArray[np.uint8]:
        """Return ``(h, w)`` levels.

        Raises:
            ValueError: the image is not grey with 8 bits.
        """
        if image.mode != "L":
            raise ValueError(f"{path}: confidences of Pillow's mode {image.mode}, expected a grey PNG of 8 bits (L)")
        return np.array(image)


def write_png(path: Path, image: Image.Image) -> None:
    """Write a PNG as ``write_whole`` does."""
    encoded = io.BytesIO()
    image.save(encoded, format="PNG", compress_level=COMPRESSION)
    write_whole(path, encoded.getvalue())


def write_whole(path: Path, content: bytes) -> None:
    """Write to a temporary file in the same directory, flush it to disk, rename it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
