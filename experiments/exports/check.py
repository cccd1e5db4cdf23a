"""Whether an exported network says what its checkpoint says, how large it is and how long it takes."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from rich import box
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from experiments.latency import measure_latency
from experiments.tables import WIDTH
from lightning_modules.networks import count_parameters

TOLERANCE = 1e-3
"""Largest difference of logits that is let pass, as a share of their spread: arithmetic of another order."""
SECONDS = 2.0
"""How long the passes of one measure of latency may take in all, where that is no fewer than ``MIN_RUNS``."""
MIN_RUNS, MAX_RUNS = 3, 40
HEADINGS = ("parameters", "bytes", "ms,\n1 image", "ms,\n{} images", "largest\ndifference", "classes\nequal, %")


class ExportMismatchError(RuntimeError):
    """An exported network says something else than its checkpoint."""


@dataclass(frozen=True)
class Check:
    """How two networks' logits differ on the same images.

    Attributes:
        difference: largest of all logits.
        spread: the largest minus the smallest logit of the first network.
        equal: share of the images, or pixels, with the same most probable class.
    """

    difference: float
    spread: float
    equal: float

    @property
    def passes(self) -> bool:
        """Whether the difference is rounding; NaN does not pass."""
        return self.difference <= TOLERANCE * self.spread


@dataclass(frozen=True)
class Measured:
    """A network in one form, as the table has it.

    Attributes:
        name: of the form.
        num_bytes: of its files.
        latencies: milliseconds of one image, and of several at once.
        parameters: their number, ``None`` in formats that have constants for them.
        check: against the checkpoint; ``None`` for checkpoints themselves.
    """

    name: str
    num_bytes: int
    latencies: tuple[float, float]
    parameters: int | None = None
    check: Check | None = None


@torch.no_grad()
def compare(network: nn.Module, exported: nn.Module, batches: Sequence[Tensor]) -> Check:
    """Return how the logits of two networks differ on batches of images ``(N, C, H, W)`` in ``[0, 1]``."""
    expected = [network(images) for images in batches]
    found = [exported(images) for images in batches]
    differences = [float((one - other).abs().max()) for one, other in zip(expected, found, strict=True)]
    equal = [(one.argmax(1) == other.argmax(1)).flatten() for one, other in zip(expected, found, strict=True)]
    everything = torch.cat([logits.flatten() for logits in expected])
    return Check(
        difference=float(torch.tensor(differences).max()),  # unlike max(), it passes NaN on
        spread=float(everything.max() - everything.min()),
        equal=float(torch.cat(equal).float().mean()),
    )


def batches_to_check(images: Tensor, side_step: int | None) -> list[Tensor]:
    """Return one image alone and all of ``images (N, C, H, W)``; where sides may be larger, such a one too."""
    return [images[:1], images, *([] if side_step is None else [enlarged(images[:1], side_step)])]


def enlarged(images: Tensor, step: int) -> Tensor:
    """Return ``images (N, C, H, W)`` with black pixels to the right and below, ``(N, C, H + step, W + step)``."""
    return F.pad(images, (0, step, 0, step))


def measure(
    name: str, network: nn.Module, files: Sequence[Path], images: Tensor, check: Check | None = None
) -> Measured:
    """Return a network's row of the table.

    Args:
        name: of the form.
        network: as it is, or as ``files`` were read back.
        files: that hold it.
        images: ``(N, C, H, W)`` in ``[0, 1]``: the first alone, then all, are what latencies are of.
        check: against the checkpoint.
    """
    num_bytes = sum(path.stat().st_size for path in files)
    latencies = measure_briefly(network, images[:1]), measure_briefly(network, images)
    return Measured(name, num_bytes, latencies, count_parameters(network) or None, check)


def measure_briefly(network: nn.Module, images: Tensor) -> float:
    """Return the milliseconds of a pass, lower quartile of as many passes as there is time for."""
    once = measure_latency(network, images, num_runs=2, num_warm_up=1)  # quartiles need two
    num_runs = min(MAX_RUNS, max(MIN_RUNS, round(1000 * SECONDS / once)))
    return measure_latency(network, images, num_runs, num_warm_up=0)


@contextmanager
def single_thread() -> Iterator[None]:
    """Let torch compute on one thread, as ONNX Runtime does here: both are then measured alike."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def cells(row: Measured) -> list[str]:
    """Return a row as text; a dash where there is nothing to say."""
    checked = ["–", "–"] if row.check is None else [f"{row.check.difference:.1e}", f"{100 * row.check.equal:.2f}"]
    parameters = "–" if row.parameters is None else f"{row.parameters:,}"
    return [row.name, parameters, f"{row.num_bytes:,}", *(f"{latency:.2f}" for latency in row.latencies), *checked]


def headings(num_images: int) -> list[str]:
    """Return the headings of the columns after the first; the last latency is of ``num_images``."""
    return [heading.format(num_images) for heading in HEADINGS]


def print_rows(rows: Sequence[Measured], num_images: int) -> None:
    """Print a row a form; the last latency is of ``num_images`` at once."""
    table = Table(
        title="latency on one thread of the CPU, in float32 (lower quartile)",
        caption="a checkpoint also holds what its training needs to resume",
        box=box.SIMPLE_HEAD,
        collapse_padding=True,
        pad_edge=False,
    )
    table.add_column("", no_wrap=True)
    for heading in headings(num_images):
        table.add_column(heading, justify="right", no_wrap=True, vertical="bottom")
    for row in rows:
        table.add_row(*cells(row))
    Console(width=max(WIDTH, Console().width)).print(table)
