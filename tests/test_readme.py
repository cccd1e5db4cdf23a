"""README keeps its word: its Python lines run, its commands and files exist, it is short."""

import re
from pathlib import Path

import pytest
import torch

from experiments.command_line import COMMANDS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


@pytest.mark.filterwarnings("ignore::UserWarning")  # a plain Trainer writes and warns as Lightning does
def test_the_python_example_runs(tmp_path, monkeypatch, capsys):
    example = re.search(r"```python\n(from lightning import Trainer.*?)```", README, re.DOTALL)[1]
    lines = [line for line in example.splitlines() if line.strip()]
    assert len(lines) <= 20
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    names = {}
    exec(example, names)
    (metrics,) = names["trainer"].test(names["distillation"], names["labeled"], verbose=False)
    assert metrics["test/accuracy"] > 0.85


def test_targets_and_commands_exist():
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"make ([a-z-]+)", README)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    table = re.search(r"\| command \| does \|\n(.*?)\n\n", README, re.DOTALL)[1]
    named = set(re.findall(r"^\| `([\w-]+)` \|", table, re.MULTILINE))
    assert named == set(COMMANDS)


def test_it_is_short_and_finished():
    assert len(README.splitlines()) <= 250
    assert not re.search(r"TODO|_TABLE", README)


def test_continuous_integration_runs_the_readmes_test_command():
    assert "make test   " in README.replace("make test ", "make test  ")
    assert re.search(r"^make test$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
