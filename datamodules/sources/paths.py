"""A million paths in little memory: one blob of bytes and the places where each path begins."""

import hashlib
import os
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import overload

import numpy as np
import torch
from torch import Tensor

SIXTY_THREE_BITS = (1 << 63) - 1
WALKED_AT_ONCE = 65_536


class PathList(Sequence[str]):
    """Paths in an order of their own; selecting copies eight bytes a path, and worker processes share the rest.

    Args:
        blob: ``(B,)`` uint8, the encoded paths one after another.
        offsets: ``(R + 1,)`` int64, where each path begins, and the end.
        rows: ``(N,)`` int64, the paths of this list.
    """

    def __init__(self, blob: Tensor, offsets: Tensor, rows: Tensor) -> None:
        self.blob = blob
        self.offsets = offsets
        self.rows = rows

    @classmethod
    def of(cls, paths: Iterable[str]) -> "PathList":
        """Return the paths as a list; the iterable is walked once and never held whole."""
        blob = bytearray()
        offsets = array("q", [0])
        for path in paths:
            blob += os.fsencode(path)
            offsets.append(len(blob))
        rows = torch.arange(len(offsets) - 1)
        return cls(torch.from_numpy(np.frombuffer(blob, np.uint8)), torch.from_numpy(np.array(offsets)), rows)

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> "PathList": ...
    def __getitem__(self, index: int | slice) -> "str | PathList":
        if isinstance(index, slice):
            return PathList(self.blob, self.offsets, self.rows[index])
        row = int(self.rows[index])
        begin, end = int(self.offsets[row]), int(self.offsets[row + 1])
        return os.fsdecode(self.blob.numpy()[begin:end].tobytes())

    def __iter__(self) -> Iterator[str]:
        return map(os.fsdecode, self.encoded())

    def encoded(self) -> Iterator[bytes]:
        """Yield the bytes of each path, as the file system has them."""
        blob = self.blob.numpy()
        for rows in torch.split(self.rows, WALKED_AT_ONCE):
            for begin, end in zip(self.offsets[rows].tolist(), self.offsets[rows + 1].tolist(), strict=True):
                yield blob[begin:end].tobytes()

    def select(self, indices: Tensor) -> "PathList":
        """Return the paths at ``indices (n,)``."""
        return PathList(self.blob, self.offsets, self.rows[indices])


def path_ids(paths: PathList) -> Tensor:
    """Return ``(N,)`` int64 ids in ``[0, 2**63)``: the first bits of BLAKE2b of each path, with ``/`` between parts.

    A path's id depends on nothing but the path, so adding files changes no id. Among a million paths two share an
    id with a probability of about 5e-8; ``check_unique`` says so if they do.
    """
    ids = array("q")
    for path in paths.encoded():
        digest = hashlib.blake2b(path, digest_size=8).digest()
        ids.append(int.from_bytes(digest, "big") & SIXTY_THREE_BITS)
    return torch.from_numpy(np.array(ids, dtype=np.int64))


def check_unique(splits: Sequence[tuple[Tensor, PathList]]) -> None:
    """Raise ``ValueError`` naming two paths if an id occurs twice: a file listed twice, or a collision of hashes.

    Args:
        splits: ids ``(N,)`` and paths of each split.
    """
    order = torch.cat([ids for ids, _ in splits]).argsort(stable=True)
    ordered = torch.cat([ids for ids, _ in splits])[order]
    equal = (ordered[1:] == ordered[:-1]).nonzero().squeeze(1)
    if not len(equal):
        return
    first, second = (path_at(splits, int(order[int(equal[0]) + k])) for k in (0, 1))
    reason = "is listed twice" if first == second else f"and {second!r} have the same id"
    raise ValueError(
        f"--data.root: {first!r} {reason} ({len(equal)} such pairs); every file must belong to one split, under one "
        "name: remove the second entry, or rename one of the files"
    )


def path_at(splits: Sequence[tuple[Tensor, PathList]], index: int) -> str:
    """Return the path at ``index``, counted through all splits."""
    for ids, paths in splits:
        if index < len(ids):
            return paths[index]
        index -= len(ids)
    raise IndexError(index)
