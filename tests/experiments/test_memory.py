"""Memory that is kept between steps, seen from the pages that the system hands out; each in a process of its own."""

import ctypes
import os
import platform
import subprocess
import sys

import pytest

import experiments.command_line as command_line
from experiments.memory import keep_freed_memory

STEPS = """
import resource
from experiments.memory import keep_freed_memory
import torch

def step():
    tensors = [torch.ones(2**20) for _ in range(8)]

print(keep_freed_memory())
for _ in range(3):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
PAGES_OF_A_STEP = 8 * 2**22 // 4096

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")


def kept_and_pages(**variables):
    """Return whether memory is kept, and how many pages ten steps of 32 MB were handed."""
    environment = {name: value for name, value in os.environ.items() if "MALLOC" not in name}
    environment.pop("GLIBC_TUNABLES", None)
    environment |= variables
    done = subprocess.run([sys.executable, "-c", STEPS], env=environment, capture_output=True, text=True, check=True)
    kept, pages = done.stdout.split()
    return kept == "True", int(pages)


@glibc
def test_steps_are_handed_no_new_pages():
    kept, pages = kept_and_pages()
    assert kept
    assert pages < PAGES_OF_A_STEP


@glibc
@pytest.mark.parametrize(
    "variables", [{"MALLOC_TRIM_THRESHOLD_": "131072"}, {"GLIBC_TUNABLES": "glibc.malloc.trim_threshold=131072"}]
)
def test_what_the_user_has_set_stays(variables):
    kept, pages = kept_and_pages(**variables)
    assert not kept
    assert pages >= 5 * PAGES_OF_A_STEP


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
