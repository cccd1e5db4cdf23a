"""Every source, made from tiny files."""

from collections.abc import Callable
from pathlib import Path

import pytest

from datamodules.sources import create_source, mnist
from datamodules.sources.source import Source

from .layouts import write_cifar10, write_cifar100, write_folder, write_idx_files, write_stl10, write_svhn


@pytest.fixture
def without_checksums(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let torchvision accept files that are not the published ones."""
    for module in ("cifar", "svhn"):
        monkeypatch.setattr(
            f"torchvision.datasets.{module}.check_integrity", lambda path, md5=None: Path(path).is_file()
        )


@pytest.fixture
def make_source(tmp_path: Path, without_checksums: None, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Source]:
    """Write a source's files, once, and return the source."""
    monkeypatch.setattr(mnist, "DEBIAN_FASHION_MNIST", tmp_path / "nowhere")
    writers: dict[str, Callable[[Path], None]] = {
        "mnist": lambda root: write_idx_files(root / "MNIST" / "raw", suffix=".gz"),
        "fashion_mnist": lambda root: write_idx_files(root / "FashionMNIST" / "raw", suffix=""),
        "cifar10": write_cifar10,
        "cifar100": write_cifar100,
        "svhn": write_svhn,
        "stl10": write_stl10,
        "image_folder": write_folder,
    }

    def make(name: str) -> Source:
        if name not in writers:
            return create_source(name)
        root = tmp_path / name
        if not root.exists():
            writers[name](root)
        return create_source(name, root=root, image_size=16 if name == "image_folder" else None)

    return make
