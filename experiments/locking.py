"""Locks that the system frees when the last process that holds them ends, in whatever way it does."""

import fcntl
from pathlib import Path
from typing import IO, Any


def try_lock(file: IO[Any]) -> bool:
    """Lock an open file and return True, or False where whoever opened it elsewhere holds the lock.

    Processes that inherit the open file hold the lock too. A file system without locks gives it to all.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def is_locked(path: Path) -> bool:
    """Return whether a process holds the lock of a file."""
    if not path.is_file():
        return False
    with path.open("ab") as file:
        return not try_lock(file)
