"""Speed of the views on 28×28 images: against torchvision's usual way, and against no augmentation at all."""

from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from datamodules.augmentation.keys import sample_keys
from datamodules.augmentation.randaugment import RandAugment
from datamodules.batch import make_batch
from datamodules.loaders import stream_loader
from datamodules.sources.idx import read_idx
from datamodules.sources.source import PixelArray, Samples
from datamodules.views import View, create_policy
from experiments.benchmarks.pairs import Comparison, compare
from lightning_modules.networks import Network, NetworkSpec

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz")
"""Where Debian's package ``dataset-fashion-mnist`` puts the pixels; without it, random ones of the same shape serve."""

MEAN, STD = 0.2860, 0.3530
BATCH_SIZE = 128
NUM_BATCHES = 60
RANDAUGMENT_BATCH_SIZE = 512


class PillowDataset(Dataset[Tensor]):
    """Images one at a time through Pillow and a transform, as torchvision's in-memory datasets give them."""

    def __init__(self, pixels: Tensor, transform: Callable[[Image.Image], Tensor]) -> None:
        self.pixels = pixels.squeeze(1)
        self.transform = transform

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> Tensor:
        return self.transform(Image.fromarray(self.pixels[index].numpy()))


def run() -> list[Comparison]:
    """Return the comparisons, in about three minutes; one thread each, as a loader's worker has."""
    pixels = read_idx(FASHION_MNIST).unsqueeze(1) if FASHION_MNIST.exists() else random_pixels(60_000)
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return [
            weak_against_torchvision(pixels),
            weak_against_plain(pixels),
            weak_against_no_view(pixels),
            randaugment_against_torchvision(pixels),
        ]
    finally:
        torch.set_num_threads(num_threads)


def weak_against_torchvision(pixels: Tensor) -> Comparison:
    """Compare batches of 128, cropped, flipped and normalised, with those of ``Dataset`` and ``DataLoader``."""
    transform = transforms.Compose(
        [
            transforms.RandomCrop(28, padding=4),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize((MEAN,), (STD,)),
        ]
    )
    dataset = PillowDataset(pixels, transform)

    def endless() -> Iterator[Tensor]:
        while True:
            yield from DataLoader(dataset, BATCH_SIZE, shuffle=True, num_workers=0, drop_last=True)

    loader = endless()
    name = f"crop + flip + normalise, {NUM_BATCHES} batches of {BATCH_SIZE}: torchvision Dataset + DataLoader"
    return compare(name, batches(pixels, "weak"), lambda: [next(loader) for _ in range(NUM_BATCHES)], pairs=41)


def weak_against_plain(pixels: Tensor) -> Comparison:
    """Compare the same batches with images that are indexed and normalised as one usually writes it, no more."""
    rows = shuffled_batches(len(pixels))

    def peer() -> None:
        for _ in range(NUM_BATCHES):
            pixels[next(rows)].float().div_(255).sub_(MEAN).div_(STD)

    name = f"crop + flip + normalise, {NUM_BATCHES} batches of {BATCH_SIZE}: plain indexing + normalise"
    return compare(name, batches(pixels, "weak"), peer, pairs=101, warmup=10)


def weak_against_no_view(pixels: Tensor) -> Comparison:
    """Compare the same batches with those of the policy ``none``: what the augmentation itself costs."""
    name = f"crop + flip + normalise, {NUM_BATCHES} batches of {BATCH_SIZE}: the same without crop and flip"
    return compare(name, batches(pixels, "weak"), batches(pixels, "none"), pairs=101, warmup=10)


def randaugment_against_torchvision(pixels: Tensor) -> Comparison:
    """Compare RandAugment(2, 9) of a batch of 512 with torchvision's on one image after another."""
    images = pixels[:RANDAUGMENT_BATCH_SIZE].contiguous()
    ids = torch.arange(RANDAUGMENT_BATCH_SIZE)
    ours, peer = RandAugment(2, 9), transforms.RandAugment(2, 9)
    pillow_images = [Image.fromarray(image.numpy()) for image in images.squeeze(1)]
    return compare(
        f"RandAugment(2, 9), batch of {RANDAUGMENT_BATCH_SIZE}: torchvision, one Pillow image at a time",
        lambda: ours(images, sample_keys(0, torch.zeros_like(ids), ids)),
        lambda: [peer(image) for image in pillow_images],
    )


def batches(pixels: Tensor, policy: str) -> Callable[[], object]:
    """Return a function that makes ``NUM_BATCHES`` normalised batches of ``pixels (R, 1, H, W)`` as training does."""
    view, rows = View(create_policy(policy)), torch.arange(len(pixels))
    samples = Samples(PixelArray(pixels), rows, rows, torch.zeros_like(rows))
    network = Network(torch.nn.Identity(), NetworkSpec("identity", 10, 1, mean=(MEAN,), std=(STD,)))
    loader = iter(stream_loader(samples, batch_size=BATCH_SIZE, num_batches=100_000, seed=0))

    def make() -> None:
        for _ in range(NUM_BATCHES):
            network.normalize(make_batch(next(loader), view).images)

    return make


def shuffled_batches(num_images: int) -> Iterator[Tensor]:
    """Yield the rows of one batch after another, in random order, as they come from passes over all images."""
    num_batches = num_images // BATCH_SIZE
    while True:
        yield from torch.randperm(num_images)[: num_batches * BATCH_SIZE].view(num_batches, BATCH_SIZE)


def random_pixels(num_images: int) -> Tensor:
    """Return ``(num_images, 1, 28, 28)`` uint8 of noise."""
    return torch.randint(0, 256, (num_images, 1, 28, 28), dtype=torch.uint8)
