"""What a network gets right of a split, sample by sample, for paired comparisons."""

import torch
from torch import Tensor, nn

from datamodules.batch import unit_interval
from datamodules.sources.source import Samples

CHUNK = 512


@torch.no_grad()
def correct_predictions(network: nn.Module, samples: Samples, device: torch.device) -> Tensor:
    """Return ``(N,)`` bool: whether the network's most probable class is the label.

    Every process computes all of them, so that all decide alike.

    Args:
        network: takes images ``(n, C, H, W)`` in ``[0, 1]``, returns logits ``(n, K)``.
        samples: labelled samples.
        device: where the network computes.
    """
    network = network.to(device).eval()
    hits = []
    for start in range(0, len(samples), CHUNK):
        indices = torch.arange(start, min(start + CHUNK, len(samples)))
        pixels, kept = samples.read(indices)
        predicted = network(unit_interval(pixels.to(device))).argmax(dim=1).cpu()
        hit = torch.zeros(len(indices), dtype=torch.bool)
        hit[kept] = predicted == samples.targets[indices[kept]]
        hits.append(hit)
    return torch.cat(hits)
