"""How long a network takes."""

import statistics
import time

import torch
from torch import Tensor, nn


@torch.no_grad()
def measure_latency(network: nn.Module, images: Tensor, num_runs: int = 40, num_warm_up: int = 3) -> float:
    """Return the time of a forward pass in milliseconds; the network is in evaluation mode afterwards.

    It is the lower quartile of the passes: other work on the machine makes some of them longer, and none shorter.

    Args:
        network: takes images in ``[0, 1]``.
        images: ``(N, C, H, W)``, on the network's device.
        num_runs: passes that are timed.
        num_warm_up: passes before them.
    """
    network.eval()
    seconds = []
    for number in range(num_warm_up + num_runs):
        start = time.perf_counter()
        network(images)
        if images.device.type == "cuda":
            torch.cuda.synchronize(images.device)
        if number >= num_warm_up:
            seconds.append(time.perf_counter() - start)
    return 1000 * statistics.quantiles(seconds, n=4, method="inclusive")[0]
