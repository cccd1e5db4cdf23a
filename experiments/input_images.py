"""Image files that a user names, to be predicted: which there are, and how they are read."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.progress import track
from torch import Tensor

from datamodules.sources.decoding import BadImageError, open_image
from datamodules.sources.listing import EXTENSIONS, image_files
from datamodules.sources.paths import PathList

Read = TypeVar("Read")


@dataclass
class InputImages:
    """The images of a folder, or one file, in an order that is the same on every machine.

    Attributes:
        root: what the paths are relative to.
        paths: of the images.
        num_unreadable: files found unreadable so far.
    """

    root: Path
    paths: PathList
    num_unreadable: int = 0

    @classmethod
    def find(cls, path: Path) -> "InputImages":
        """Return the file ``path``, or the images below it, at any depth.

        Raises:
            ValueError: there is no such file or folder, or no image in it.
        """
        if path.is_file():
            return cls(path.parent, PathList.of([path.name]))
        if not path.is_dir():
            raise ValueError(f"input: got {path}, where there is nothing; expected an image, or a folder of images")
        paths = PathList.of(image_files(path, "."))
        if not len(paths):
            raise ValueError(
                f"input: got {path}, which has no images; expected some, at any depth ({', '.join(EXTENSIONS)})"
            )
        return cls(path, paths)

    def require_distinct_names(self) -> None:
        """Raise a ``ValueError`` where two files have the same name but for the ending: their masks would too."""
        counts = Counter(map(without_suffix, self.paths))
        twice = next((name for name, count in counts.items() if count > 1), None)
        if twice is not None:
            first, second, *_ = (path for path in self.paths if without_suffix(path) == twice)
            raise ValueError(
                f"input: got {first} and {second}, whose masks would both be {twice}.png; expected names that differ "
                f"before the ending: rename one, or predict them one by one; nothing was written"
            )

    def read(self, read: Callable[[int], Read]) -> Iterator[tuple[str, Read]]:
        """Yield the path of each file that can be read and what ``read`` returns of its row; name and count others."""
        console = Console(stderr=True, soft_wrap=True)
        rows = range(len(self.paths))
        for row in track(rows, "predicting", console=console, transient=True, disable=not console.is_terminal):
            try:
                content = read(row)
            except BadImageError as error:
                self.num_unreadable += 1
                console.print(f"skipped: {reason(error)}", markup=False, highlight=False)
            else:
                yield self.paths[row], content

    def read_whole(self, row: int, max_pixels: int) -> Tensor:
        """Return the pixels ``(3, H, W)`` uint8 of a file, upright, red, green and blue.

        Raises:
            BadImageError: it cannot be read, or has more than ``max_pixels`` pixels.
        """
        encoded = open_image(self.root / self.paths[row], max_pixels)
        return encoded.decode(encoded.whole)[:3]


def reason(error: BadImageError) -> str:
    """Return what is wrong with a file; what training could do about it, after the last semicolon, is left out."""
    return (str(error).rpartition("; ")[0] or str(error)).replace("--data.", "--")


def without_suffix(path: str) -> str:
    """Return a path without the ending of its last part."""
    return str(PurePosixPath(path).with_suffix(""))


def with_channels(pixels: Tensor, num_channels: int) -> Tensor:
    """Return ``(C, H, W)`` uint8 of ``pixels (3, H, W)``: as they are for three channels, their luma for one."""
    if num_channels == 3:
        return pixels
    image = Image.fromarray(np.ascontiguousarray(pixels.permute(1, 2, 0).numpy()))
    return torch.from_numpy(np.array(image.convert("L"))).unsqueeze(0)
