"""Tiny data sets in the layouts in which the real ones are published."""

import gzip
import pickle
from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image

CIFAR10_NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
NUM_TRAIN, NUM_TEST, NUM_UNLABELED = 30, 20, 7


def random_pixels(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def write_idx(path: Path, array: np.ndarray) -> None:
    """An IDX file of unsigned bytes, as Yann LeCun's page describes it."""
    header = bytes([0, 0, 8, array.ndim]) + b"".join(int(size).to_bytes(4, "big") for size in array.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    data = header + array.tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def write_idx_files(folder: Path, suffix: str) -> None:
    for seed, (split, count) in enumerate((("train", NUM_TRAIN), ("t10k", NUM_TEST))):
        write_idx(folder / f"{split}-images-idx3-ubyte{suffix}", random_pixels(seed, count, 28, 28))
        write_idx(folder / f"{split}-labels-idx1-ubyte{suffix}", np.arange(count, dtype=np.uint8) % 10)


def legacy_pickle(entry: dict[str, object]) -> bytes:
    """A pickle of protocol 2 that names NumPy's parts as those of 2009 did."""
    data = pickle.dumps(entry, protocol=2).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    return data.replace(b"\x89\x88\x87R", b"K\x00K\x01\x87R")


def write_cifar_batch(path: Path, seed: int, count: int, label_key: str, num_classes: int) -> None:
    labels = [k % num_classes for k in range(count)]
    entry = {"data": random_pixels(seed, count, 3072), label_key: labels, "filenames": [f"{k}.png" for k in labels]}
    path.write_bytes(legacy_pickle(entry))


def write_cifar10(root: Path) -> None:
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for k in range(1, 6):
        write_cifar_batch(folder / f"data_batch_{k}", k, NUM_TRAIN // 3, "labels", 10)
    write_cifar_batch(folder / "test_batch", 6, NUM_TEST, "labels", 10)
    (folder / "batches.meta").write_bytes(legacy_pickle({"label_names": CIFAR10_NAMES, "num_vis": 3072}))


def write_cifar100(root: Path) -> None:
    folder = root / "cifar-100-python"
    folder.mkdir(parents=True)
    write_cifar_batch(folder / "train", 1, 200, "fine_labels", 100)
    write_cifar_batch(folder / "test", 2, 100, "fine_labels", 100)
    names = [f"fine_{k:02}" for k in range(100)]
    (folder / "meta").write_bytes(legacy_pickle({"fine_label_names": names, "coarse_label_names": ["fish"]}))


def write_svhn(root: Path) -> None:
    root.mkdir(parents=True, exist_ok=True)
    for seed, (split, count) in enumerate((("train", NUM_TRAIN), ("test", NUM_TEST))):
        labels = (np.arange(count, dtype=np.uint8) % 10 + 1).reshape(-1, 1)  # 1..10, and 10 is the digit 0
        scipy.io.savemat(root / f"{split}_32x32.mat", {"X": random_pixels(seed, 32, 32, 3, count), "y": labels})


def write_stl10(root: Path) -> None:
    folder = root / "stl10_binary"
    folder.mkdir(parents=True)
    counts = {"train": NUM_TRAIN, "test": NUM_TEST, "unlabeled": NUM_UNLABELED}
    for seed, (split, count) in enumerate(counts.items()):
        (folder / f"{split}_X.bin").write_bytes(random_pixels(seed, count, 3, 96, 96).tobytes())
        if split != "unlabeled":
            (folder / f"{split}_y.bin").write_bytes((np.arange(count, dtype=np.uint8) % 10 + 1).tobytes())
    (folder / "class_names.txt").write_text("airplane\nbird\n")
    (folder / "fold_indices.txt").write_text("0 1 2\n")


def write_photograph(path: Path, seed: int = 0, width: int = 40, height: int = 30) -> Path:
    """A smooth picture, which JPEG changes little."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = Image.fromarray(random_pixels(seed, 4, 4, 3))
    coarse.resize((width, height), Image.Resampling.BICUBIC).save(path, quality=95)
    return path


def write_folder(root: Path) -> None:
    for split, count in (("train", 4), ("val", 2), ("test", 3)):
        for label, name in enumerate(("cat", "dog")):
            for k in range(count):
                write_photograph(root / split / name / f"{k}.jpg", seed=100 * label + k)
    for k in range(3):
        write_photograph(root / "unlabeled" / "deep" / f"down_{k % 2}" / f"{k}.png", seed=k)
