"""A network that owns its normalisation."""

from dataclasses import asdict, dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class NetworkSpec:
    """All that is needed to build a network again; it travels in every checkpoint.

    Attributes:
        name: the name in the registry.
        num_classes: classes ``K``.
        num_channels: channels ``C`` of the images.
        mean: per channel, in units of ``[0, 1]``.
        std: likewise.
        input_size: side to which images are resized first, ``None`` to take them as they come.
        options: keyword arguments of the network's builder.
    """

    name: str
    num_classes: int
    num_channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    input_size: int | None = None
    options: dict[str, Any] = field(default_factory=dict)

    def as_plain(self) -> dict[str, Any]:
        """Return plain lists, numbers and strings, which ``torch.load(weights_only=True)`` accepts."""
        return asdict(self)


class Network(nn.Module):
    """Takes images in ``[0, 1]``, normalises (and, if asked, resizes) them itself, returns logits.

    Args:
        body: the network proper, which expects normalised images.
        spec: how it was built.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, body: nn.Module, spec: NetworkSpec) -> None:
        super().__init__()
        self.body = body
        self.spec = spec
        self.register_buffer("mean", torch.tensor(spec.mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(spec.std).view(1, -1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits ``(N, K)`` or ``(N, K, H, W)`` of ``images (N, C, H, W)`` in ``[0, 1]``."""
        if self.spec.input_size is not None:
            size = (self.spec.input_size, self.spec.input_size)
            images = F.interpolate(images, size=size, mode="bilinear", antialias=True)
        logits: Tensor = self.body((images - self.mean) / self.std)
        return logits


def count_parameters(network: nn.Module) -> int:
    """Return the number of parameters, trained or frozen."""
    return sum(parameter.numel() for parameter in network.parameters())
