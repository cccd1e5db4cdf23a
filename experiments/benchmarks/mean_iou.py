"""Counting the pixels of masks, against torchmetrics' ``MulticlassJaccardIndex`` as it comes."""

from dataclasses import replace

import torch
from torch import Tensor
from torchmetrics.classification import MulticlassJaccardIndex

from experiments.benchmarks.pairs import Comparison, compare
from lightning_modules.losses.cross_entropy import IGNORED
from lightning_modules.segmentation_metrics import SegmentationMetrics

NUM_CLASSES = 21
SHAPE = (16, NUM_CLASSES, 128, 128)
IGNORED_SHARE = 0.05


def run() -> list[Comparison]:
    """Compare updates with logits in both layouts and with classes, in about half a minute; one thread each."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(SHAPE, generator=generator)
    targets = logits.argmax(dim=1) + torch.randint(0, 2, (SHAPE[0], *SHAPE[2:]), generator=generator)
    targets = targets.remainder(NUM_CLASSES).masked_fill(
        torch.rand(targets.shape, generator=generator) < IGNORED_SHARE, IGNORED
    )
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return [
            compare_updates("logits", logits, targets),
            compare_updates("channels-last logits", logits.contiguous(memory_format=torch.channels_last), targets),
            compare_updates("classes", logits.argmax(dim=1), targets),
        ]
    finally:
        torch.set_num_threads(num_threads)


def compare_updates(what: str, predictions: Tensor, targets: Tensor) -> Comparison:
    """Compare one update, and say by how much the mean IoUs differ."""
    ours, peer = SegmentationMetrics(NUM_CLASSES), MulticlassJaccardIndex(NUM_CLASSES, ignore_index=IGNORED)
    comparison = compare(
        "", lambda: ours.update(predictions, targets), lambda: peer.update(predictions, targets), pairs=41
    )
    difference = float((ours.compute()["mean_iou"] - peer.compute()).abs())
    shape = "×".join(map(str, (SHAPE[0], *SHAPE[2:])))
    name = f"{what} of {shape}, {NUM_CLASSES} classes: torchmetrics' MulticlassJaccardIndex; mean IoU ±{difference:.0e}"
    return replace(comparison, name=name)
