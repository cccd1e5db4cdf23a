"""Imports run one way, and torch is not imported before a command runs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("experiments", "lightning_modules", "datamodules")
FORBIDDEN = {
    "experiments": (),
    "lightning_modules": ("datamodules", "experiments"),
    "datamodules": ("lightning_modules", "experiments"),
    "lightning_modules/losses": ("lightning_modules.",),
    "lightning_modules/networks": ("lightning_modules.",),
    "datamodules/augmentation": ("datamodules.",),
    "datamodules/sources": ("datamodules.",),
}
ALLOWED = {"datamodules/sources": ("datamodules.augmentation.keys",)}


def imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module)
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names


def files(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


@pytest.mark.parametrize("room", FORBIDDEN)
def test_imports_run_one_way(room):
    own = room.replace("/", ".")
    for path in files(room):
        for name in imports(path):
            if name.startswith((own, *ALLOWED.get(room, ()))):
                continue
            for forbidden in FORBIDDEN[room]:
                assert not f"{name}.".startswith(forbidden.rstrip(".") + "."), f"{path} imports {name}"


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_there_are_no_circles():
    modules = {module_name(path): path for room in ROOMS for path in files(room)}
    graph = {name: {i for i in imports(path) if i in modules and i != name} for name, path in modules.items()}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail, name))
        if name not in done:
            for imported in graph[name]:
                visit(imported, (*trail, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_a_command_line_is_parsed_without_torch():
    program = "import sys, experiments.command_line; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0
