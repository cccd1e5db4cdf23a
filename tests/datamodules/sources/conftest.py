"""Every source, made from tiny files."""

from collections.abc import Callable
from pathlib import Path

import pytest

from datamodules.sources import create_source, mnist
from datamodules.sources.source import Source

from .layouts import write_cifar10, write_cifar100, write_folder, write_idx_files, write_stl10, write_svhn
from .mask_layouts import write_cityscapes, write_mask_folder, write_pets, write_voc

OPTIONS = {
    "image_folder": {"image_size": 16},
    "digit_scenes": {"num_scenes": 12},
    "fashion_scenes": {"num_scenes": 12},
    "oxford_pets": {"image_size": 16},
    "voc2012": {"image_size": 16},
    "cityscapes": {"image_size": 32},
    "mask_folder": {"image_size": 16},
}


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
        "fashion_scenes": lambda root: write_idx_files(root / "FashionMNIST" / "raw", suffix=""),
        "oxford_pets": write_pets,
        "voc2012": write_voc,
        "cityscapes": write_cityscapes,
        "mask_folder": write_mask_folder,
    }

    def make(name: str) -> Source:
        if name not in writers:
            return create_source(name, **OPTIONS.get(name, {}))
        root = tmp_path / name
        if not root.exists():
            writers[name](root)
        return create_source(name, root=root, **OPTIONS.get(name, {}))

    return make
