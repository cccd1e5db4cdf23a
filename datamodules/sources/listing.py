"""Walking folders of images: which files there are, in an order that is the same on every machine."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from datamodules.sources.paths import PathList

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp")
NO_CLASSES = ("__MACOSX", "__pycache__", "lost+found")
"""Folders that archives and file systems leave behind; hidden ones (``.ipynb_checkpoints``) are skipped too."""


def visible_folders(folder: Path) -> list[str]:
    """Return the sorted names of the folders in ``folder`` that may hold images."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if is_visible(entry.name) and entry.is_dir())


def image_files(root: Path, folder: str) -> Iterator[str]:
    """Yield the images below ``folder``, at any depth, relative to ``root`` and with ``/`` between parts.

    Hidden files and folders are left out; links are followed, except back to a folder that is being walked.

    Args:
        root: what the paths are relative to.
        folder: relative to ``root``, with ``/`` between parts; ``.`` for ``root`` itself.
    """
    yield from walk(str(root), "" if folder == "." else f"{folder}/", ())


def walk(root: str, prefix: str, above: tuple[tuple[int, int], ...]) -> Iterator[str]:
    """Yield the images of the folder ``root/prefix``, whose parents are known by device and inode."""
    status = os.stat(f"{root}/{prefix}")
    place = (status.st_dev, status.st_ino)
    if place in above:
        return
    files, folders = [], []
    with os.scandir(f"{root}/{prefix}") as entries:
        for entry in entries:
            if not is_visible(entry.name):
                continue
            if entry.name.lower().endswith(EXTENSIONS) and entry.is_file():
                files.append(entry.name)
            elif entry.is_dir():
                folders.append(entry.name)
    yield from (prefix + name for name in sorted(files))
    for name in sorted(folders):
        yield from walk(root, f"{prefix}{name}/", (*above, place))


def is_visible(name: str) -> bool:
    """Whether a file or folder of that name may be, or hold, an image."""
    return not name.startswith(".") and name not in NO_CLASSES


def fingerprint(root: Path, paths: PathList) -> str:
    """Return 16 hexadecimal digits that change if a file is added, removed, renamed or rewritten."""
    digest = hashlib.blake2b(digest_size=8)
    for path in paths.encoded():
        try:
            status = os.stat(os.path.join(os.fsencode(root), path))
            state = f"\0{status.st_size}\0{status.st_mtime_ns}\n"
        except OSError:
            state = "\0missing\n"
        digest.update(path + state.encode())
    return digest.hexdigest()
