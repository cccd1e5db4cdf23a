"""Memory that is kept between steps, seen from the pages that the system hands out; each in a process of its own."""

import ctypes
import mmap
import os
import platform
import subprocess
import sys
from types import SimpleNamespace

import pytest

import experiments.command_line as command_line
from experiments.memory import keep_freed_memory

STEPS = """
import resource, sys
from experiments.memory import keep_freed_memory
import torch

def step():
    tensors = [torch.ones(2**20) for _ in range(int(sys.argv[1]))]

print(keep_freed_memory())
for _ in range(3):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
TENSORS = 8
PAGES_OF_A_STEP = TENSORS * 2**22 // mmap.PAGESIZE

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")


def kept_and_pages(**variables):
    """Return whether memory is kept, and how many pages ten steps of 32 MB were handed."""
    environment = {name: value for name, value in os.environ.items() if "MALLOC" not in name}
    environment.pop("GLIBC_TUNABLES", None)
    environment |= variables
    done = subprocess.run(
        [sys.executable, "-c", STEPS, str(TENSORS)], env=environment, capture_output=True, text=True, check=True
    )
    kept, pages = done.stdout.split()
    return kept == "True", int(pages)


@glibc
def test_steps_are_handed_no_new_pages():
    kept, pages = kept_and_pages()
    assert kept
    assert pages < PAGES_OF_A_STEP


@glibc
def test_both_thresholds_are_set(monkeypatch):
    for name in ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES"):
        monkeypatch.delenv(name, raising=False)
    given = {}
    library = SimpleNamespace(mallopt=lambda option, value: given.update({option: value}) or 1)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    assert keep_freed_memory()
    assert given == {-3: 2**25, -1: 2**30}  # glibc's M_MMAP_THRESHOLD and M_TRIM_THRESHOLD
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.arena_max=2")
    assert keep_freed_memory()
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace())
    assert not keep_freed_memory()


@glibc
@pytest.mark.parametrize(
    "variables", [{"MALLOC_TRIM_THRESHOLD_": "131072"}, {"GLIBC_TUNABLES": "glibc.malloc.trim_threshold=131072"}]
)
def test_what_the_user_has_set_stays(variables):
    kept, pages = kept_and_pages(**variables)
    assert not kept
    assert pages >= 2 * PAGES_OF_A_STEP  # where the system's pages are larger than it says, fewer than all ten


def test_other_libraries_are_left_alone(monkeypatch):
    for name in list(os.environ):
        if "MALLOC" in name or name == "GLIBC_TUNABLES":
            monkeypatch.delenv(name)
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(ctypes, "CDLL", lambda name: pytest.fail("looked into the C library"))
    assert not keep_freed_memory()


def test_commands_keep_memory(monkeypatch, capsys):
    called = []
    monkeypatch.setattr(command_line, "keep_freed_memory", lambda: called.append(True))
    command_line.main(["networks"], command_line.EXPERIMENTS)
    assert called
