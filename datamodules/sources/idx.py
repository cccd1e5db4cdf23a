"""The IDX format of MNIST and its successors, plain or gzip-compressed."""

import gzip
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

UNSIGNED_BYTE = 8


def read_idx(path: Path) -> Tensor:
    """Return the uint8 array of an IDX file; its last axis is the fastest.

    Source: LeCun, Cortes and Burges, "The MNIST database", section "File formats".

    Raises:
        ValueError: if the file is no IDX file of bytes, or is cut off.
    """
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise damaged(path, f"its compression is broken ({error})") from error
    if len(data) < 4 or data[:3] != bytes([0, 0, UNSIGNED_BYTE]):
        raise damaged(path, f"it begins with {data[:4].hex()!r} instead of 000008 and the number of axes")
    num_axes = data[3]
    shape = tuple(int(size) for size in np.frombuffer(data[4 : 4 + 4 * num_axes], ">u4"))
    pixels = np.frombuffer(bytearray(data[4 + 4 * num_axes :]), np.uint8)
    if len(shape) != num_axes or len(pixels) != np.prod(shape):
        raise damaged(path, f"it holds {len(pixels)} values, its header says {shape}")
    return torch.from_numpy(pixels.reshape(shape))


def read_idx_split(folder: Path, split: str) -> tuple[Tensor, Tensor]:
    """Return images ``(N, 1, H, W)`` uint8 and targets ``(N,)`` of ``train`` or ``t10k``."""
    images = read_idx(find_idx(folder, f"{split}-images-idx3-ubyte"))
    return images.unsqueeze(1), read_idx(find_idx(folder, f"{split}-labels-idx1-ubyte"))


def has_idx_files(folder: Path) -> bool:
    """Whether all four files are in the folder, compressed or not."""
    kinds = ("images-idx3-ubyte", "labels-idx1-ubyte")
    return all(find_idx(folder, f"{split}-{kind}").exists() for split in ("train", "t10k") for kind in kinds)


def find_idx(folder: Path, name: str) -> Path:
    """Return the plain file if it is there, else the compressed one."""
    return folder / name if (folder / name).exists() else folder / f"{name}.gz"


def damaged(path: Path, reason: str) -> ValueError:
    """Return the error for a file that does not hold what it should."""
    return ValueError(
        f"--data.root: {path} is no whole IDX file: {reason}; fetch it again (remove it, --data.download true)"
    )
