"""Memory that the C library keeps for the next step."""

import ctypes
import os
import platform

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Numbers of ``mallopt``'s parameters in glibc's ``malloc.h``."""

KEPT_BYTES = 2**30
"""Free memory at the top of the heap that is kept."""

LARGEST_KEPT = 2**25
"""Bytes of a tensor above which its memory goes back at once: the most that glibc allows."""

VARIABLES = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_")
TUNABLES = ("glibc.malloc.trim_threshold", "glibc.malloc.mmap_threshold")


def keep_freed_memory() -> bool:
    """Have glibc keep what tensors on a processor free, up to a gigabyte; return whether it was told so.

    PyTorch asks the C library for the memory of each tensor. By default glibc gives freed memory back to the system
    step by step and asks for it anew, and the system clears each page again: 8,000 pages in a forward and a backward
    pass of the U-Net of ``make segment``. Where the user has set this, with the variables of ``mallopt(3)`` or
    ``GLIBC_TUNABLES``, it stays so; other C libraries are left as they are.
    """
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    if any(os.environ.get(name) for name in VARIABLES) or any(name in tunables for name in TUNABLES):
        return False
    if platform.libc_ver()[0] != "glibc":
        return False
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is None:
        return False
    return bool(set_option(MMAP_THRESHOLD, LARGEST_KEPT) and set_option(TRIM_THRESHOLD, KEPT_BYTES))
