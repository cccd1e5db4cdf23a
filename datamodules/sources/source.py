"""What a source of images is: named splits of samples that are read a batch at a time."""

import hashlib
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor

from datamodules.sources.paths import PathList

IGNORE_INDEX = 255
"""Class of the pixels of a mask of which nothing is known."""


class ImageReader(Protocol):
    """Reads the images of many rows at once; all images of one call have one size."""

    def __call__(self, rows: Tensor, keys: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return ``(m, C, H, W)`` uint8 pixels and the ``(m,)`` int64 positions of ``rows`` that they belong to.

        The positions ascend. They are ``0..n-1``, except where a reader was told to skip images that cannot be
        read: such a row is missing from both, and no other image stands in its place.

        Args:
            rows: ``(n,)`` int64 rows of the storage, in the order wanted.
            keys: ``(n,)`` int64 random keys of the views (``augmentation.keys``) from which a reader that crops
                while it decodes takes its choices; ``None`` for the deterministic view of evaluation.
        """
        ...

    @property
    def makes_choices(self) -> bool:
        """Whether it crops at random while it reads, so that it needs keys in training."""
        ...

    @property
    def num_skipped(self) -> int:
        """Number of images found unreadable and skipped, over all worker processes of this process."""
        ...


@dataclass(frozen=True)
class PixelArray:
    """Reads rows of a pixel array ``(R, C, H, W)`` uint8 that lies in memory; there are no choices to make.

    Forked workers share the array's pages, and spawned ones receive it through torch's shared memory: no process
    holds a copy.
    """

    pixels: Tensor

    def __call__(self, rows: Tensor, keys: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return ``(n, C, H, W)`` uint8 pixels of the rows, and ``0..n-1``: every row is there."""
        return self.pixels.index_select(0, rows), positions(len(rows))

    @property
    def makes_choices(self) -> bool:
        """No: rows are read as they are."""
        return False

    @property
    def num_skipped(self) -> int:
        """Zero: what is in memory has been read."""
        return 0


class MaskReader(Protocol):
    """Reads the masks of many rows at once, at the size and place of the images in those rows."""

    @property
    def fingerprint(self) -> bytes:
        """What changes with the masks: their pixels, or of files their coding and size."""
        ...

    def __call__(self, rows: Tensor) -> Tensor:
        """Return ``(n, H, W)`` uint8 class indices of the pixels in ``rows (n,)``, 255 where nothing is known."""
        ...

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of every mask in pixels."""
        ...


@dataclass(frozen=True)
class MaskArray:
    """Reads rows of masks ``(R, H, W)`` uint8 that lie in memory."""

    masks: Tensor

    @property
    def fingerprint(self) -> bytes:
        """SHA-256 of all masks."""
        return hashlib.sha256(self.masks.numpy().tobytes()).digest()

    def __call__(self, rows: Tensor) -> Tensor:
        """Return ``(n, H, W)`` uint8 masks of the rows."""
        return self.masks.index_select(0, rows)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a mask in pixels."""
        return self.masks.shape[1], self.masks.shape[2]


@lru_cache(maxsize=16)
def positions(num_rows: int) -> Tensor:
    """Return ``0..num_rows-1``, made once: that takes as long as reading a small image."""
    return torch.arange(num_rows)


@dataclass(frozen=True)
class Samples:
    """An ordered set of samples: their ids, their targets and how to read their images.

    Attributes:
        reader: reads images by row.
        rows: ``(N,)`` int64 rows of the reader's storage.
        ids: ``(N,)`` int64, unique within the source and the same on every machine and in every run.
        targets: ``(N,)`` int64 class indices, ``-1`` where unknown; with ``masks``, 0 where the mask may be read.
        paths: the samples' files, relative to the source's root, where it has files.
        masks: reads masks by row, in sources whose targets are masks.
    """

    reader: ImageReader
    rows: Tensor
    ids: Tensor
    targets: Tensor
    paths: PathList | None = None
    masks: MaskReader | None = None

    def __post_init__(self) -> None:
        lengths = {len(self.rows), len(self.ids), len(self.targets), len(self.paths or self.ids)}
        assert len(lengths) == 1, f"rows, ids, targets and paths differ in length: {sorted(lengths)}"

    def __len__(self) -> int:
        return len(self.ids)

    def select(self, indices: Tensor) -> "Samples":
        """Return the samples at ``indices (n,)``; the pixels stay where they are."""
        paths = self.paths.select(indices) if self.paths is not None else None
        return replace(self, rows=self.rows[indices], ids=self.ids[indices], targets=self.targets[indices], paths=paths)

    def without_targets(self) -> "Samples":
        """Return the same samples, all unlabelled: what a learner may see of the pool."""
        return replace(self, targets=torch.full_like(self.targets, -1))

    def read_targets(self, indices: Tensor) -> Tensor:
        """Return the targets of the samples at ``indices (n,)``: ``(n,)`` int64 classes, or ``(n, H, W)`` uint8 masks.

        The masks of unlabelled samples are not read: every pixel is 255.
        """
        targets = self.targets.index_select(0, indices)
        if self.masks is None:
            return targets
        rows, is_known = self.rows.index_select(0, indices), targets >= 0
        if is_known.all():
            return self.masks(rows)
        masks = torch.full((len(indices), *self.masks.size), IGNORE_INDEX, dtype=torch.uint8)
        if is_known.any():
            masks[is_known] = self.masks(rows[is_known])
        return masks

    def read(self, indices: Tensor, keys: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return ``(m, C, H, W)`` uint8 images and the ``(m,)`` int64 positions of ``indices (n,)`` kept.

        ``m`` is below ``n`` only where unreadable files are skipped. Targets and ids of the images are those of
        ``indices[kept]``.
        """
        return self.reader(self.rows.index_select(0, indices), keys)

    def images(self, indices: Tensor, keys: Tensor | None = None) -> Tensor:
        """Return ``(n, C, H, W)`` uint8 images of the samples at ``indices (n,)``, every one of them.

        Raises:
            ValueError: if a file cannot be read and is skipped; ``read`` says which remain.
        """
        images, kept = self.read(indices, keys)
        if len(kept) < len(indices):
            raise ValueError(
                f"--data.on_bad_image skip: {len(indices) - len(kept)} of {len(indices)} images cannot be read, and "
                "here each is needed; remove the files named in the log, or read what remains with Samples.read"
            )
        return images


@dataclass(frozen=True)
class Source:
    """Images as they were published: their splits, their classes, whom to cite.

    Attributes:
        name: the name by which it is asked for.
        class_names: ``K`` names, in the order of the class indices.
        citation: author, year and title.
        train: the published training split.
        test: the published test split, which nothing is ever chosen on.
        validation: the published validation split, if there is one.
        unlabeled: published images without labels, if there are any.
        mean: per channel, of the training pixels in ``[0, 1]``.
        std: likewise.
    """

    name: str
    class_names: tuple[str, ...]
    citation: str
    train: Samples
    test: Samples
    mean: tuple[float, ...]
    std: tuple[float, ...]
    validation: Samples | None = None
    unlabeled: Samples | None = None

    @property
    def num_classes(self) -> int:
        """Number of classes ``K``."""
        return len(self.class_names)

    @property
    def num_channels(self) -> int:
        """Number of channels ``C`` of an image."""
        return len(self.mean)

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that change with the name, the classes, and any split's ids or targets."""
        digest = hashlib.sha256(repr((self.name, self.class_names)).encode())
        for split in (self.train, self.test, self.validation, self.unlabeled):
            for values in (split.ids, split.targets) if split is not None else ():
                digest.update(values.numpy().tobytes())
            if split is not None and split.masks is not None:
                digest.update(split.masks.fingerprint)
        return digest.hexdigest()[:16]

    @property
    def num_skipped(self) -> int:
        """Number of files found unreadable and skipped so far, over all splits and worker processes."""
        splits = (self.train, self.test, self.validation, self.unlabeled)
        readers = {id(split.reader): split.reader for split in splits if split is not None}
        return sum(reader.num_skipped for reader in readers.values())
