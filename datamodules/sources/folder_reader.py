"""Reads image files many at once, cropped while they are decoded, to uint8 pixels of one size."""

import logging
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from datamodules.sources.crops import (
    Frame,
    crop_and_resize,
    crop_draws,
    random_crop,
    resize,
    resize_and_center_crop,
)
from datamodules.sources.decoded_cache import DecodedCache
from datamodules.sources.decoding import BadImageError, EncodedImage, open_image
from datamodules.sources.paths import PathList

logger = logging.getLogger(__name__)

OnBadImage = Literal["raise", "skip"]
CENTER_SHARE = 7 / 8
"""Side of the centre crop over the resized shorter side: 224 of 256, the usual evaluation on ImageNet."""


@dataclass(frozen=True)
class Reading:
    """How image files become pixels.

    Attributes:
        image_size: height and width of the images in pixels.
        crop_scale: bounds of a random crop's share of the image's area.
        crop_ratio: bounds of its width over height.
        max_pixels: files with more are refused before they are decoded.
        on_bad_image: ``raise`` an error naming a file that cannot be read, or ``skip`` its sample and count it.
        max_bad_images: of one split; when more are skipped, it is an error after all.
        cache: folder for decoded images; ``None`` decodes anew in every epoch.
        cache_side: height and width in pixels of a whole image stored in the cache; 4/3 of ``image_size`` if ``None``.

    Raises:
        ValueError: naming the option whose value makes no sense.
    """

    image_size: int = 224
    crop_scale: tuple[float, float] = (0.08, 1.0)
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    max_pixels: int = 100_000_000
    on_bad_image: OnBadImage = "raise"
    max_bad_images: int = 100
    cache: Path | None = None
    cache_side: int | None = None

    def __post_init__(self) -> None:
        scale, ratio, side = self.crop_scale, self.crop_ratio, self.cache_side
        for option, valid, expected in (
            ("image_size", self.image_size >= 1, "at least 1"),
            ("crop_scale", 0 < scale[0] <= scale[1] <= 1, "two ascending numbers above 0, at most 1"),
            ("crop_ratio", 0 < ratio[0] <= ratio[1] < math.inf, "two ascending numbers above 0"),
            ("max_pixels", self.max_pixels >= 1, "at least 1"),
            ("on_bad_image", self.on_bad_image in get_args(OnBadImage), "raise or skip"),
            ("max_bad_images", self.max_bad_images >= 0, "at least 0"),
            ("cache_side", side is None or side >= self.image_size, f"at least image_size ({self.image_size})"),
            ("cache_side", side is None or self.cache is not None, "a folder in --data.cache beside it"),
        ):
            if not valid:
                raise ValueError(f"--data.{option}: given {getattr(self, option)}, expected {expected}")

    @property
    def resized(self) -> int:
        """Shorter side before the centre crop, in pixels."""
        return round(self.image_size / CENTER_SHARE)

    @property
    def stored_side(self) -> int:
        """Side of a whole image in the cache; its area is that of a 4:3 photo whose shorter side is ``resized``."""
        return self.cache_side or math.ceil(self.image_size * 4 / 3)


@dataclass(frozen=True)
class FolderReader:
    """Reads the files of one split.

    With keys the image is a random resized crop; without, the shorter side is resized and the centre cut out. With a
    cache, a whole image is decoded once, stretched to a square and stored, and the same random crops are then
    taken from there; the centre view is stored as it is, so evaluation gives the same pixels with and without.

    Attributes:
        root: what the paths are relative to.
        paths: by row.
        reading: how files become pixels.
        bad: ``(R,)`` uint8 in shared memory, 1 where a file was found unreadable and skipped.
        frames: the cache of whole images.
        views: the cache of centre views.
    """

    root: Path
    paths: PathList
    reading: Reading
    bad: Tensor = field(repr=False)
    frames: DecodedCache | None = None
    views: DecodedCache | None = None

    @classmethod
    def of(cls, root: Path, paths: PathList, reading: Reading, cache_name: str | None = None) -> "FolderReader":
        """Return a reader; ``cache_name`` must change whenever the files do, ``None`` leaves the cache out."""
        bad = shared_zeros(len(paths))
        if reading.cache is None or cache_name is None:
            return cls(root, paths, reading, bad)
        frames, views = (
            DecodedCache(reading.cache / f"{cache_name}-{kind}-{side}", len(paths), side)
            for kind, side in (("frames", reading.stored_side), ("views", reading.image_size))
        )
        return cls(root, paths, reading, bad, frames, views)

    def __call__(self, rows: Tensor, keys: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return ``(m, 3, S, S)`` uint8 pixels and the ``(m,)`` positions of ``rows`` that could be read.

        Raises:
            ValueError: naming a file that cannot be read, unless such files are skipped and few enough.
        """
        size = self.reading.image_size
        pixels = np.empty((len(rows), 3, size, size), np.uint8)
        draws = [None] * len(rows) if keys is None else crop_draws(keys)
        kept: list[int] = []
        for position, row in enumerate(rows.tolist()):
            try:
                view = self._center_view(row) if keys is None else self._random_view(row, draws[position] or [])
            except BadImageError as error:
                self._skip(row, error, self.views if keys is None else self.frames)
            else:
                pixels[len(kept)] = view.numpy()  # NumPy interleaves channels twice as fast as torch
                kept.append(position)
        return torch.from_numpy(pixels[: len(kept)]), torch.tensor(kept, dtype=torch.int64)

    @property
    def makes_choices(self) -> bool:
        """Yes: random crops are taken while decoding."""
        return True

    @property
    def num_skipped(self) -> int:
        """Number of files found unreadable and skipped, over all worker processes."""
        return int(self.bad.sum())

    def _open(self, row: int) -> EncodedImage:
        return open_image(self.root / self.paths[row], self.reading.max_pixels)

    def _random_view(self, row: int, draws: list[list[float]]) -> Tensor:
        size, scale, ratio = self.reading.image_size, self.reading.crop_scale, self.reading.crop_ratio
        if self.frames is not None:
            frame = self.frames.read(row) or self._store_frame(row, self.frames)
            return crop_and_resize(frame, random_crop(draws, frame.height, frame.width, scale, ratio), size)
        encoded = self._open(row)
        crop = random_crop(draws, encoded.height, encoded.width, scale, ratio)
        return resize(encoded.decode(crop, size), size, size)

    def _center_view(self, row: int) -> Tensor:
        stored = self.views.read(row) if self.views is not None else None
        if stored is not None:
            return stored.pixels
        encoded, resized = self._open(row), self.reading.resized
        frame = Frame(encoded.decode(encoded.whole), encoded.height, encoded.width)
        view = resize_and_center_crop(frame, resized, self.reading.image_size)
        if self.views is not None:
            self.views.write(row, frame._replace(pixels=view))
            self.views.finish_if_whole()
        return view

    def _store_frame(self, row: int, frames: DecodedCache) -> Frame:
        encoded = self._open(row)
        pixels = resize(encoded.decode(encoded.whole, frames.side), frames.side, frames.side)
        stretched = Frame(pixels, encoded.height, encoded.width)
        frames.write(row, stretched)
        frames.finish_if_whole()
        return stretched

    def _skip(self, row: int, error: BadImageError, cache: DecodedCache | None) -> None:
        """Count a file that cannot be read, or raise its error."""
        if self.reading.on_bad_image == "raise":
            raise error
        if not self.bad[row]:
            logger.warning("skipped: %s", error)
        self.bad[row] = 1
        if cache is not None:
            cache.mark_unreadable(row)
            cache.finish_if_whole()
        if self.num_skipped > self.reading.max_bad_images:
            raise ValueError(
                f"--data.max_bad_images {self.reading.max_bad_images}: {self.num_skipped} images of a split cannot "
                f"be read, the last being {error}; repair or remove the files, or raise the option"
            ) from error


def shared_zeros(length: int) -> Tensor:
    """Return ``(length,)`` uint8 zeros that worker processes write into as one."""
    zeros = torch.zeros(length, dtype=torch.uint8)
    zeros.share_memory_()  # type: ignore[no-untyped-call]
    return zeros
