"""The files of pseudo-masks: for each image a mask and its confidences, listed with their digests."""

import hashlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from datamodules.mask_files import read_confidence_levels, read_mask, write_confidences, write_mask, write_whole

MASKS = "masks"
LIST_NAME = "SHA256SUMS"
"""File of a folder of pseudo-masks that lists all others, as ``sha256sum --check`` reads it."""
DIGEST_LENGTH = 64


def mask_folder(table: Path, digest: str) -> Path:
    """Return the folder beside a table that holds its pseudo-masks, whose ``TableMetadata.masks`` is ``digest``."""
    return table.with_name(f"{table.name}.{MASKS}-{digest[:12]}")


def file_names(number: int) -> tuple[str, str]:
    """Return the names of the mask and of the confidences of the image with the id ``number``."""
    return f"{number}.png", f"{number}.confidence.png"


def write_pseudo_masks(folder: Path, ids: Tensor, probabilities: Tensor) -> None:
    """Write the most probable classes, and how probable they are, of the images ``ids (n,)``.

    Args:
        folder: must be there.
        ids: ``(n,)`` int64.
        probabilities: ``(n, K, H, W)`` float, ``K`` up to 255.
    """
    confidences = probabilities.amax(dim=1)
    classes = torch.zeros_like(confidences, dtype=torch.uint8)
    for label in reversed(range(probabilities.shape[1])):  # argmax takes twice as long; of equal ones the first stays
        classes.masked_fill_(probabilities[:, label] == confidences, label)
    arrays = classes.cpu().numpy(), confidences.float().cpu().numpy()
    for number, mask, confidence in zip(ids.tolist(), *arrays, strict=True):
        mask_name, confidence_name = file_names(number)
        write_mask(folder / mask_name, mask)
        write_confidences(folder / confidence_name, confidence)


def list_digests(folder: Path, ids: Tensor) -> str:
    """Write the list of all files' SHA-256, in the order of ``ids (N,)``; return that of the list.

    Raises:
        ValueError: a file is missing.
    """
    lines = []
    for name in (name for number in ids.tolist() for name in file_names(number)):
        if not (folder / name).is_file():
            raise ValueError(
                f"{folder / name}: no such file, expected the mask and the confidences of each of {len(ids)} images; "
                "run the same command again, with all processes writing to one file system"
            )
        lines.append(f"{file_digest(folder / name)}  {name}\n")
    write_whole(folder / LIST_NAME, "".join(lines).encode())
    return file_digest(folder / LIST_NAME)


class PseudoMasks:
    """The pseudo-masks of a table, in its order; each file is compared with its digest whenever it is read.

    Args:
        folder: of the files.
        digest: the table's ``TableMetadata.masks``.
        ids: ``(N,)`` int64, all of the table.
        num_classes: classes ``K``.
        size: height and width in pixels of the images.

    Raises:
        ValueError: the list of files is missing or another; when a mask is read, if that is missing, another or of
            another size.
    """

    def __init__(self, folder: Path, digest: str, ids: Tensor, num_classes: int, size: tuple[int, int]) -> None:
        self.folder = folder
        self.ids = ids
        self.num_classes = num_classes
        self.size = size
        require_digest(folder / LIST_NAME, digest)
        lines = (folder / LIST_NAME).read_bytes().splitlines()
        if len(lines) != 2 * len(ids):
            raise ValueError(
                f"{folder / LIST_NAME}: lists {len(lines)} files, expected two of each of the {len(ids)} images in the "
                "pseudo-label table; put the table back that was written with them, or label the pool again"
            )
        # Fixed-length bytes in one array, whose pages forked workers share.
        self.digests = np.array([line[:DIGEST_LENGTH] for line in lines]).reshape(len(ids), 2)

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, position: int) -> tuple[Tensor, Tensor]:
        """Return ``(H, W)`` uint8 classes, and ``(H, W)`` uint8 confidences in 255ths, of the image at a position."""
        paths = [self.folder / name for name in file_names(int(self.ids[position]))]
        for path, digest in zip(paths, self.digests[position], strict=True):
            require_digest(path, digest.decode())
        classes, levels = read_mask(paths[0], self.num_classes), read_confidence_levels(paths[1])
        for path, values in zip(paths, (classes, levels), strict=True):
            if values.shape != self.size:
                raise ValueError(
                    f"{path}: has {values.shape[1]}x{values.shape[0]} pixels, expected the {self.size[1]}x"
                    f"{self.size[0]} of its image; set the data.image_size with which the pool was labelled, or label "
                    "it again"
                )
        return torch.from_numpy(classes), torch.from_numpy(levels)


def require_digest(path: Path, digest: str) -> None:
    """Raise a ``ValueError`` unless a file has the SHA-256 with which its table was written."""
    found = file_digest(path) if path.is_file() else "no such file"
    if found != digest:
        raise ValueError(
            f"{path}: got {found[:12]}, expected the file with the SHA-256 {digest[:12]} that the pseudo-label table "
            "was written with; put it back, or label the pool again"
        )


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
