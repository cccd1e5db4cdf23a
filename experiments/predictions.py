"""What a network gets right of a split, sample by sample, for paired comparisons."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from datamodules.batch import unit_interval
from datamodules.sources.source import Samples
from lightning_modules.segmentation_metrics import PixelConfusion


def correct_predictions(network: nn.Module, samples: Samples, device: torch.device, batch_size: int = 256) -> Tensor:
    """Return ``(N,)`` bool: whether the network's most probable class is the label.

    Every process computes all of them, so that all decide alike.

    Args:
        network: takes images ``(n, C, H, W)`` in ``[0, 1]``, returns logits ``(n, K)``.
        samples: labelled samples.
        device: where the network computes.
        batch_size: images that it is given together.
    """
    correct = torch.zeros(len(samples), dtype=torch.bool)
    for indices, logits in predict_samples(network, samples, device, batch_size):
        correct[indices] = logits.argmax(dim=1).cpu() == samples.targets[indices]
    return correct


def pixel_confusions(network: nn.Module, samples: Samples, device: torch.device, batch_size: int = 64) -> Tensor:
    """Return ``(N, K, K)`` int32: of each image the confusion matrix of its pixels, all 0 of an image not read.

    Args:
        network: takes images ``(n, C, H, W)`` in ``[0, 1]``, returns logits ``(n, K, H, W)``.
        samples: samples with masks.
        device: where the network computes.
        batch_size: images that it is given together.
    """
    rows: Tensor | None = None
    for indices, logits in predict_samples(network, samples, device, batch_size):
        num_classes = logits.shape[1]
        rows = torch.zeros(len(samples), num_classes, num_classes, dtype=torch.int32) if rows is None else rows
        for index, image, mask in zip(indices, logits.cpu(), samples.read_targets(indices), strict=True):
            confusion = PixelConfusion(num_classes, sync_on_compute=False)  # every process counts all images
            confusion.update(image.unsqueeze(0), mask.unsqueeze(0))
            rows[index] = confusion.compute()
    assert rows is not None, "no samples to predict"
    return rows


@torch.no_grad()
def predict_samples(
    network: nn.Module, samples: Samples, device: torch.device, batch_size: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield indices ``(n,)`` of samples that can be read, and their logits on the device, a batch at a time."""
    network = network.to(device).eval()
    for start in range(0, len(samples), batch_size):
        indices = torch.arange(start, min(start + batch_size, len(samples)))
        pixels, kept = samples.read(indices)
        if len(kept):
            yield indices[kept], network(unit_interval(pixels.to(device)))
