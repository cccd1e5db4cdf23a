"""Training steps with memory kept between them, against glibc as it comes; the sides take turns in two processes."""

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import torch

from experiments.benchmarks.pairs import Comparison, compare
from experiments.memory import keep_freed_memory
from lightning_modules.losses import cross_entropy, segmentation_loss
from lightning_modules.networks import create_network

NETWORKS: dict[str, tuple[tuple[int, int, int, int], dict[str, Any]]] = {
    "unet": ((16, 3, 64, 64), {"encoder": "resnet20", "width": 32, "output_stride": 2}),
    "resnet14": ((128, 1, 28, 28), {}),
}
"""Batch and options of each network: those of ``make segment`` and of students on Fashion-MNIST."""


def run() -> list[Comparison]:
    """Compare forward and backward passes in bfloat16, in a minute."""
    return [compare_steps(name) for name in NETWORKS]


def compare_steps(name: str) -> Comparison:
    """Compare steps of two processes, of which one computes at a time."""
    context = multiprocessing.get_context("spawn")
    pairs = [context.Pipe() for _ in range(2)]
    processes = [
        context.Process(target=answer, args=(there, name, keep), daemon=True)
        for (_, there), keep in zip(pairs, (True, False), strict=True)
    ]
    for process in processes:
        process.start()
    for _, there in pairs:
        there.close()  # so that a process that fails ends the wait for its answer
    ours, peer = (asking(here) for here, _ in pairs)
    (size, *_), _ = NETWORKS[name]
    what = f"forward and backward, {name}, batch {size}, {torch.get_num_threads()} threads: glibc as it comes"
    try:
        return compare(what, ours, peer, pairs=41, warmup=5)
    finally:
        for process in processes:
            process.terminate()
            process.join()


def asking(connection: Connection) -> Callable[[], Any]:
    """Return what has the process at the other end take a step."""

    def step() -> Any:
        connection.send(None)
        return connection.recv()

    return step


def answer(connection: Connection, name: str, keep: bool) -> None:
    """Take a step for each message, for as long as there are any."""
    if keep:
        keep_freed_memory()
    shape, options = NETWORKS[name]
    size, num_channels, side, _ = shape
    torch.manual_seed(0)
    network = create_network(name, num_classes=10, num_channels=num_channels, image_size=side, **options)
    network = network.to(memory_format=torch.channels_last)
    images = torch.rand(shape).contiguous(memory_format=torch.channels_last)
    of_pixels = "encoder" in options
    targets = torch.randint(0, 10, (size, side, side) if of_pixels else (size,))
    while True:
        connection.recv()
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(images)
        loss = segmentation_loss(logits, targets) if of_pixels else cross_entropy(logits, targets)
        torch.autograd.backward(loss)
        connection.send(None)
