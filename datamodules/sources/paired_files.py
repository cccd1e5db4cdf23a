"""Image files with mask files, whatever their sizes: both fitted into one frame, the rest of it black and 255."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from datamodules.sources.crops import Crop, resize
from datamodules.sources.decoding import open_image
from datamodules.sources.mask_coding import MaskCoding, read_mask
from datamodules.sources.paths import PathList, path_ids
from datamodules.sources.source import IGNORE_INDEX, Samples

MAX_PIXELS = 100_000_000


@dataclass(frozen=True)
class Frame:
    """What every image is fitted into: enlarged or shrunk until it touches two sides, in the middle.

    Attributes:
        height: in pixels.
        width: likewise.
        max_pixels: files with more are refused before they are decoded.

    Raises:
        ValueError: a number is below 1.
    """

    height: int
    width: int
    max_pixels: int = MAX_PIXELS

    def __post_init__(self) -> None:
        for option, value in (("image_size", min(self.height, self.width)), ("max_pixels", self.max_pixels)):
            if value < 1:
                raise ValueError(f"--data.{option}: given {value}, expected at least 1")

    def place(self, height: int, width: int) -> Crop:
        """Return where an image of some size comes to lie within the frame."""
        scale = min(self.height / height, self.width / width)
        fitted_height = min(self.height, max(1, round(height * scale)))
        fitted_width = min(self.width, max(1, round(width * scale)))
        top, left = (self.height - fitted_height) // 2, (self.width - fitted_width) // 2
        return Crop(top, left, fitted_height, fitted_width)


@dataclass(frozen=True)
class FittedImages:
    """Reads image files by row, interpolated linearly with antialiasing; around them it is black.

    Attributes:
        root: what the paths are relative to.
        paths: of the images, by row.
        frame: what they are fitted into.
    """

    root: Path
    paths: PathList
    frame: Frame

    def __call__(self, rows: Tensor, keys: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return ``(n, 3, H, W)`` uint8 pixels, and ``0..n-1``: every row is there.

        Raises:
            ValueError: naming a file that cannot be read.
        """
        images = torch.zeros(len(rows), 3, self.frame.height, self.frame.width, dtype=torch.uint8)
        for image, row in zip(images, rows.tolist(), strict=True):
            encoded = open_image(self.root / self.paths[row], self.frame.max_pixels)
            top, left, height, width = self.frame.place(encoded.height, encoded.width)
            pixels = encoded.decode(encoded.whole, min(height, width))
            image[:, top : top + height, left : left + width] = resize(pixels, height, width)
        return images, torch.arange(len(rows))

    @property
    def makes_choices(self) -> bool:
        """No: the whole image is read, so that its mask is that of every view."""
        return False

    @property
    def num_skipped(self) -> int:
        """Zero: a file that cannot be read is an error."""
        return 0


@dataclass(frozen=True)
class FittedMasks:
    """Reads mask files by row, the nearest pixel of each; around them it is 255.

    Attributes:
        root: what the paths are relative to.
        paths: of the masks, by row.
        images: the paths of their images, which must have the same size.
        coding: what their pixels mean.
        frame: what they are fitted into.
    """

    root: Path
    paths: PathList
    images: PathList
    coding: MaskCoding
    frame: Frame

    def __call__(self, rows: Tensor) -> Tensor:
        """Return ``(n, H, W)`` uint8 class indices.

        Raises:
            ValueError: naming a mask that cannot be read, has a pixel of no class, or another size than its image.
        """
        masks = torch.full((len(rows), *self.size), IGNORE_INDEX, dtype=torch.uint8)
        for mask, row in zip(masks, rows.tolist(), strict=True):
            path = self.root / self.paths[row]
            classes = torch.from_numpy(read_mask(path, self.coding, self.frame.max_pixels))
            self._require_size(row, path, classes)
            top, left, height, width = self.frame.place(*classes.shape)
            mask[top : top + height, left : left + width] = nearest(classes, height, width)
        return masks

    @property
    def fingerprint(self) -> bytes:
        """What pixels mean and how large masks become; the files themselves are not read."""
        return repr((self.coding, self.size)).encode()

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the frame in pixels."""
        return self.frame.height, self.frame.width

    def _require_size(self, row: int, path: Path, classes: Tensor) -> None:
        image = open_image(self.root / self.images[row], self.frame.max_pixels)
        if tuple(classes.shape) != (image.height, image.width):
            raise ValueError(
                f"{path}: the mask has {classes.shape[1]}x{classes.shape[0]} pixels, its image {image.path} "
                f"{image.width}x{image.height}; expected the same size: make the mask anew at the image's size"
            )


def nearest(classes: Tensor, height: int, width: int) -> Tensor:
    """Return ``(height, width)`` of ``classes (h, w)``: in each pixel the class that lies at its middle."""
    rows, columns = (
        (2 * torch.arange(wanted) + 1) * available // (2 * wanted)
        for wanted, available in zip((height, width), classes.shape, strict=True)
    )
    return classes[rows.unsqueeze(1), columns]


def paired_samples(
    root: Path, images: Sequence[str], masks: Sequence[str], coding: MaskCoding, frame: Frame
) -> Samples:
    """Return image files with their mask files, both relative to ``root``; without masks they are unlabelled."""
    paths, ids = PathList.of(images), path_ids(PathList.of(images))
    return Samples(
        reader=FittedImages(root, paths, frame),
        rows=torch.arange(len(paths)),
        ids=ids,
        targets=torch.full_like(ids, 0 if masks else -1),
        paths=paths,
        masks=FittedMasks(root, PathList.of(masks), paths, coding, frame),
    )
