"""Decoded images of one size in one file, filled as they are first seen and then read instead of decoded."""

import json
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from datamodules.sources.crops import Frame

MISSING, UNREADABLE = 0, 1
"""States of a record that has no pixels; any other value is the checksum of those it has."""
FINISHED = "finished.json"


class DecodedCache:
    """A file of ``(R, side, side, 3)`` uint8 records, each with its image's own height and width and a checksum.

    Any number of processes may fill it together: a record's checksum is written after its pixels, two processes
    that write the same record write the same bytes, and a record found with another checksum counts as missing,
    as after a crash. When no record is missing any more the file is flushed and a marker is renamed into place;
    from then on nothing is checked.

    Args:
        directory: of this cache alone; made when first used.
        num_records: ``R``.
        side: height and width of a record in pixels.
    """

    def __init__(self, directory: Path, num_records: int, side: int) -> None:
        self.directory = directory
        self.num_records = num_records
        self.side = side
        self._opened: _Files | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}  # a pickled memory map would carry all its pixels

    @property
    def finished(self) -> bool:
        """Whether every record is there and flushed."""
        return (self.directory / FINISHED).exists()

    def read(self, row: int) -> Frame | None:
        """Return a record, or ``None`` if it is missing."""
        files = self._files()
        if not files.trusted[row]:
            state = int(files.states[row])
            if state in (MISSING, UNREADABLE) or checksum(files.pixels[row]) != state:
                return None
            files.trusted[row] = True
        height, width = files.sizes[row].tolist()
        return Frame(torch.from_numpy(files.pixels[row]).permute(2, 0, 1), height, width)

    def write(self, row: int, frame: Frame) -> None:
        """Store a frame whose pixels are ``(3, side, side)``; a cache found finished stays as it is."""
        files = self._files()
        if files.finished:
            return
        record = frame.pixels.permute(1, 2, 0).contiguous().numpy()
        with told_if_full(self.directory):  # a full disk would kill whoever writes through a memory map
            if os.pwrite(files.descriptor, record.data, row * record.nbytes) < record.nbytes:
                raise OSError("the disk is full")
        files.sizes[row] = frame.height, frame.width
        files.states[row] = checksum(record)
        files.trusted[row] = True

    def mark_unreadable(self, row: int) -> None:
        """Note that there will be no pixels for this record."""
        self._files().states[row] = UNREADABLE

    def finish_if_whole(self) -> None:
        """Flush the files and set the marker if no record is missing."""
        files = self._files()
        if self.finished or not files.states.all():
            return
        os.fsync(files.descriptor)
        files.sizes.flush()
        files.states.flush()
        with tempfile.NamedTemporaryFile("w", dir=self.directory, delete=False) as marker:
            json.dump({"records": self.num_records, "side": self.side}, marker)
            marker.flush()
            os.fsync(marker.fileno())
        os.replace(marker.name, self.directory / FINISHED)

    def _files(self) -> "_Files":
        if self._opened is None:
            if not self.directory.exists():
                create(self.directory, self.num_records, self.side)
            self._opened = _Files(self.directory, self.num_records, self.side, self.finished)
        return self._opened


class _Files:
    """One process's view of the files."""

    def __init__(self, directory: Path, num_records: int, side: int, finished: bool) -> None:
        mode: Any = "c" if finished else "r+"  # a finished cache may lie on a read-only disk
        shape = (num_records, side, side, 3)
        self.finished = finished
        self.descriptor = os.open(directory / "pixels", os.O_RDONLY if finished else os.O_RDWR)
        self.pixels = np.memmap(directory / "pixels", np.uint8, mode, shape=shape)
        self.sizes = np.memmap(directory / "sizes", np.int32, mode, shape=(num_records, 2))
        self.states = np.memmap(directory / "states", np.uint32, mode, shape=(num_records,))
        self.trusted = (self.states != UNREADABLE) if finished else np.zeros(num_records, bool)

    def __del__(self) -> None:
        os.close(self.descriptor)


def create(directory: Path, num_records: int, side: int) -> None:
    """Make the files of an empty cache; of several processes that try, one succeeds and the others use its files.

    Raises:
        ValueError: if the disk has no room for the whole.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    num_bytes = num_records * side * side * 3
    free = shutil.disk_usage(directory.parent).free
    if free < num_bytes:
        raise ValueError(
            f"--data.cache {directory.parent}: {num_records} decoded images of {side}x{side} need "
            f"{num_bytes / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free; lower --data.cache_side or name another disk"
        )
    temporary = Path(tempfile.mkdtemp(dir=directory.parent))
    for name, size in (("pixels", num_bytes), ("sizes", num_records * 8), ("states", num_records * 4)):
        with open(temporary / name, "wb") as file:
            file.truncate(size)
    try:
        temporary.rename(directory)
    except OSError:  # another process was first
        shutil.rmtree(temporary)


@contextmanager
def told_if_full(directory: Path) -> Iterator[None]:
    """Name the option in the error of a write that fails."""
    try:
        yield
    except OSError as error:
        raise ValueError(f"--data.cache {directory}: cannot be written ({error}); free some space there") from error


def checksum(record: np.ndarray[Any, np.dtype[np.uint8]]) -> int:
    """Return a CRC-32 that is neither of the two states without pixels."""
    return max(zlib.crc32(record.data), UNREADABLE + 1)
