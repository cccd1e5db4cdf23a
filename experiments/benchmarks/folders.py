"""Folders of photographs: decoding to 224×224 against Pillow and torchvision's transforms, and indexing a million."""

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from torch import Tensor

from datamodules.augmentation.keys import sample_keys
from datamodules.sources.source import Samples
from experiments.benchmarks.pairs import Comparison, compare

NUM_PHOTOGRAPHS = 64
WIDTH, HEIGHT = 500, 375
SIZE = 224
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
NUM_PATHS, NUM_FOLDERS = 1_000_000, 1_000


def run() -> list[Comparison]:
    """Compare on one thread, and print what indexing a million paths takes."""
    seconds, megabytes = index_apart()
    print(f"index of {NUM_PATHS:,} simulated paths: {seconds:.1f} s, peak memory +{megabytes:.0f} MB")
    with tempfile.TemporaryDirectory() as folder, one_thread():
        root = Path(folder)
        write_photographs(root)
        decoded, cached = train_samples(root, cache=None), train_samples(root, cache=root / "cache")
        ours_cached = batches(cached)
        ours_cached()  # the first epoch fills the cache
        peer = peer_batches(root)
        return [
            compare("500x375 JPEG to 224, decoded", batches(decoded), peer, pairs=21),
            compare("500x375 JPEG to 224, warm cache", ours_cached, peer),
        ]


def batches(samples: Samples) -> Callable[[], Tensor]:
    """Return a function that reads all samples, in a new epoch at every call, as one normalised batch."""
    epochs = iter(range(1_000_000))
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    scale, shift = 1 / (255 * std), -mean / std

    def read() -> Tensor:
        keys = sample_keys(0, torch.full_like(samples.ids, next(epochs)), samples.ids)
        images, _ = samples.read(torch.arange(len(samples)), keys)
        batch = torch.from_numpy(np.empty(images.shape, np.float32))  # NumPy asks for large pages: a third of the time
        for floats, bytes_ in zip(batch, images, strict=True):
            floats.copy_(bytes_).mul_(scale).add_(shift)
        return batch

    return read


def peer_batches(root: Path) -> Callable[[], Tensor]:
    """Return the usual way: each file opened by Pillow and put through torchvision's transforms, then stacked."""
    from PIL import Image
    from torchvision import transforms

    transform = transforms.Compose(
        [transforms.RandomResizedCrop(SIZE), transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    )
    files = sorted(root.glob("train/*/*.jpg"))

    def read() -> Tensor:
        images = []
        for file in files:
            with Image.open(file) as image:
                images.append(transform(image.convert("RGB")))
        return torch.stack(images)

    return read


def train_samples(root: Path, cache: Path | None) -> Samples:
    """Return the training photographs."""
    from datamodules.sources.image_folder import image_folder

    return image_folder(root, image_size=SIZE, cache=cache).train


def write_photographs(root: Path) -> None:
    """Write random crops of scikit-learn's two photographs, one flipped of every two, as JPEGs of quality 90."""
    from PIL import Image, ImageOps
    from sklearn.datasets import load_sample_images

    generator = np.random.default_rng(0)
    for index in range(NUM_PHOTOGRAPHS):
        photograph = Image.fromarray(load_sample_images().images[index % 2])
        width = int(generator.integers(WIDTH, photograph.width + 1))
        height = width * HEIGHT // WIDTH
        width, height = (width, height) if height <= photograph.height else (WIDTH, HEIGHT)
        left = int(generator.integers(photograph.width - width + 1))
        top = int(generator.integers(photograph.height - height + 1))
        crop = photograph.crop((left, top, left + width, top + height)).resize((WIDTH, HEIGHT))
        crop = ImageOps.mirror(crop) if index % 4 < 2 else crop
        for split in ("train", "test") if index < 2 else ("train",):
            folder = root / split / ("temple", "flower")[index % 2]
            folder.mkdir(parents=True, exist_ok=True)
            crop.save(folder / f"{index}.jpg", quality=90)


@contextmanager
def one_thread() -> Iterator[None]:
    """Use one core: what a loader's worker has."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)


def index_apart() -> tuple[float, float]:
    """Return seconds and megabytes of ``index_a_million``, run in a process of its own."""
    command = [sys.executable, "-c", "from experiments.benchmarks import folders; print(*folders.index_a_million())"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return float(output[0]), float(output[1])


def index_a_million() -> tuple[float, float]:
    """Return the seconds, and the rise of peak memory in MB, of listing simulated folders and making their samples."""
    from datamodules.sources.folder_reader import Reading
    from datamodules.sources.image_folder import list_split, samples_of
    from datamodules.sources.paths import check_unique

    names = [f"class_{k:04}" for k in range(NUM_FOLDERS)]
    before, start = peak_megabytes(), time.perf_counter()
    with (
        mock.patch("datamodules.sources.listing.os.scandir", SimulatedFolder),
        mock.patch("datamodules.sources.listing.os.stat"),
    ):
        samples = samples_of(
            Path("/simulated"), "train", list_split(Path("/simulated"), "train", tuple(names)), Reading()
        )
    assert samples.paths is not None, "folders have paths"
    assert len(samples) == NUM_PATHS, "every simulated path is listed"
    check_unique([(samples.ids, samples.paths)])
    return time.perf_counter() - start, peak_megabytes() - before


class SimulatedFolder:
    """What ``os.scandir`` gives for ``train`` with its class folders, and for a class folder with its images."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = str(folder)

    def __enter__(self) -> Iterator["SimulatedEntry"]:
        if self.folder.endswith("train"):
            return (SimulatedEntry(f"class_{k:04}", False) for k in range(NUM_FOLDERS))
        label = self.folder.rstrip("/")[-4:]
        return (SimulatedEntry(f"photograph_{label}_{k:08}.jpg", True) for k in range(NUM_PATHS // NUM_FOLDERS))

    def __exit__(self, *reason: object) -> None:
        """Nothing to close."""


class SimulatedEntry:
    """One entry of a simulated folder."""

    def __init__(self, name: str, is_image: bool) -> None:
        self.name = name
        self.is_image = is_image

    def is_file(self) -> bool:
        """Whether it is an image."""
        return self.is_image

    def is_dir(self) -> bool:
        """Whether it is a class folder."""
        return not self.is_image


def peak_megabytes() -> float:
    """Return the peak resident memory of this program, by Linux' own account.

    ``getrusage`` would do elsewhere, but on Linux a started program inherits the peak of the one that started it.
    """
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024  # type: ignore[index]
