"""Small files that are there whole or not at all."""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO, overload


@contextmanager
def open_atomically(path: Path) -> Iterator[TextIO]:
    """Open a temporary file in the same directory; when all is written, flush it to disk and rename it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8", errors="surrogateescape") as file:  # names of files may be any bytes
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: Path, text: str) -> None:
    """Write ``text`` to a temporary file in the same directory, flush it to disk, rename it."""
    with open_atomically(path) as file:
        file.write(text)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write JSON, indented, atomically."""
    write_atomically(path, json.dumps(content, indent=2) + "\n")


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the content of a JSON file, ``None`` where there is none.

    Raises:
        ValueError: the file is no JSON object.
    """
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not valid JSON ({error}); delete it to do its stage again") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a JSON object, it holds a {type(content).__name__}")
    return content


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal.

    Raises:
        ValueError: there is no such file.
    """
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@overload
def as_path(text: str) -> Path: ...


@overload
def as_path(text: None) -> None: ...


def as_path(text: str | None) -> Path | None:
    """Return the path that a setting names, ``~`` expanded."""
    return None if text is None else Path(text).expanduser()
