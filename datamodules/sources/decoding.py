"""From an image file's bytes to RGB pixels, whatever the file's mode; damaged and oversized files are refused."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from datamodules.sources.crops import Crop, carry_over, reduction

FORMATS = ("JPEG", "PNG", "WEBP")
EXIF_ORIENTATION = 0x0112
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF 2.32, tag 274: what turns an image upright."""


class BadImageError(ValueError):
    """A file that is missing, damaged, too large, or no image."""


@dataclass(frozen=True)
class EncodedImage:
    """An image file of which only the header has been read.

    Attributes:
        path: for messages.
        image: Pillow's handle, pixels not yet decoded.
        orientation: EXIF orientation, 1 if there is none.
    """

    path: Path
    image: Image.Image
    orientation: int

    @property
    def height(self) -> int:
        """Height of the upright image in pixels."""
        return self.image.width if self.orientation >= 5 else self.image.height

    @property
    def width(self) -> int:
        """Width of the upright image in pixels."""
        return self.image.height if self.orientation >= 5 else self.image.width

    @property
    def whole(self) -> Crop:
        """The box around the whole image."""
        return Crop(0, 0, self.height, self.width)

    def decode(self, crop: Crop, needed: int | None = None) -> Tensor:
        """Return the pixels of a box of the upright image, uint8: red, green, blue and perhaps a fourth that is void.

        Where fewer pixels will do, a JPEG is shrunk by 2, 4 or 8 while it is decoded, which is faster, as long as
        ``needed`` pixels of the box's shorter side remain.

        Raises:
            BadImageError: if the file is damaged.
        """
        height, width = self.height, self.width
        with refusal(self.path):
            shrunk = reduction(min(crop.height, crop.width), needed) if needed else 1
            self.image.draft(None, (self.image.width // shrunk, self.image.height // shrunk))
            upright = to_rgb(self.image)
            if self.orientation != 1:
                upright = upright.transpose(UPRIGHT[self.orientation])
            top, bottom = carry_over(crop.top, crop.height, height, upright.height)
            left, right = carry_over(crop.left, crop.width, width, upright.width)
            region = pixel_array(upright)[top:bottom, left:right].copy()
        return torch.from_numpy(region).permute(2, 0, 1)


def open_image(path: Path, max_pixels: int) -> EncodedImage:
    """Read a file and its header.

    Raises:
        BadImageError: if it cannot be read, is no JPEG, PNG or WebP, or has more than ``max_pixels`` pixels.
    """
    with refusal(path):
        data = io.BytesIO(path.read_bytes())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of damaged EXIF data, which count as none
            with without_pixel_limit():
                image = Image.open(data, formats=FORMATS)
            check_size(path, image, max_pixels)
            orientation = image.getexif().get(EXIF_ORIENTATION, 1)
    return EncodedImage(path, image, orientation if orientation in UPRIGHT else 1)


def check_size(path: Path, image: Image.Image, max_pixels: int) -> None:
    """Raise ``BadImageError`` if decoding the image would take more memory than was granted."""
    if image.width * image.height > max_pixels:
        raise BadImageError(
            f"{path}: {image.width}x{image.height} pixels are more than --data.max_pixels {max_pixels}; raise the "
            "option if you trust the file, else remove it or shrink it"
        )


@contextmanager
def refusal(path: Path) -> Iterator[None]:
    """Turn whatever a decoder raises into ``BadImageError`` naming the file."""
    try:
        yield
    except BadImageError:
        raise
    except Exception as error:  # Pillow's plugins raise OSError, SyntaxError, struct.error, ... on damaged files
        raise BadImageError(
            f"{path}: cannot be read as an image ({type(error).__name__}: {error}); expected a whole JPEG, PNG or "
            "WebP file: replace it, remove it, or set --data.on_bad_image skip"
        ) from error


@contextmanager
def without_pixel_limit() -> Iterator[None]:
    """Suspend Pillow's own limit, whose message names neither the file nor our option."""
    limit = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def pixel_array(image: Image.Image) -> NDArray[np.uint8]:
    """Return the pixels ``(h, w, 4)`` of an RGB image where Pillow has them, a fourth byte beside each colour.

    An image of more than 16 MB, which Pillow keeps in pieces, is copied: ``(h, w, 3)``.
    """
    image.load()
    try:
        channels = pa.array(image).flatten()
    except ValueError:
        return np.asarray(image)
    return np.asarray(channels).reshape(image.height, image.width, 4)


def to_rgb(image: Image.Image) -> Image.Image:
    """Return the image in RGB as a viewer shows it: transparency over white, 16-bit grey scaled to 8 bits."""
    if image.mode.startswith("I"):
        wide = np.array(image).astype(np.float64)
        image = Image.fromarray((wide / 257).round().clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        transparent = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, transparent).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")
