"""A step of Muon, against timm's."""

from typing import Any

import timm.optim
import torch
from torch import nn

from experiments.benchmarks.pairs import Comparison, compare
from lightning_modules.muon import Muon
from lightning_modules.networks import create_network

NETWORKS: dict[str, dict[str, Any]] = {"unet": {"encoder": "resnet20", "width": 32, "output_stride": 2}, "resnet50": {}}


def run() -> list[Comparison]:
    """Compare steps on a small U-Net and on ResNet-50, with gradients of noise; a minute."""
    return [compare_steps(name, options) for name, options in NETWORKS.items()]


def compare_steps(name: str, options: dict[str, Any]) -> Comparison:
    """Compare steps on two copies of a network; gradients are there before."""
    ours, peer = (create_optimizer(optimizer, name, options) for optimizer in (Muon, timm.optim.Muon))
    parameters = sum(parameter.numel() for group in ours.param_groups for parameter in group["params"])
    what = f"step of Muon, {name} of {parameters:,} parameters, {torch.get_num_threads()} threads: timm's"
    return compare(what, ours.step, peer.step, pairs=9)


def create_optimizer(optimizer: type[timm.optim.Muon], name: str, options: dict[str, Any]) -> timm.optim.Muon:
    """Return an optimizer of a new network whose gradients are noise."""
    torch.manual_seed(0)
    network: nn.Module = create_network(name, num_classes=10, num_channels=3, image_size=64, **options)
    for parameter in network.parameters():
        parameter.grad = torch.randn_like(parameter)
    return optimizer(network.parameters(), lr=0.02)
