"""How long a network takes."""

import torch
from torch import nn

from experiments import latency
from experiments.latency import measure_latency


class Noted(nn.Module):
    """Notes how it is called."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[int, bool, bool]] = []

    def forward(self, images):
        self.calls.append((len(images), self.training, torch.is_grad_enabled()))
        return images


def test_it_is_the_lower_quartile_of_the_passes_after_the_warm_up(monkeypatch):
    durations = [9.0, 9.0, 1.0, 2.0, 3.0, 4.0, 5.0]  # seconds
    clock = iter(
        [moment for number, length in enumerate(durations) for moment in (100.0 * number, 100 * number + length)]
    )
    monkeypatch.setattr(latency.time, "perf_counter", lambda: next(clock))
    network = Noted().train()
    assert measure_latency(network, torch.zeros(3, 1, 2, 2), num_runs=5, num_warm_up=2) == 2000
    assert network.calls == [(3, False, False)] * 7
