"""A network that owns its normalisation."""

import copy
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_modules.networks.layers import find_head


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
        options: keyword arguments of ``create_network`` with what was decided when it was built, such as ``stem``.
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
        body: the network proper, which expects normalised images. In training mode it may return a tuple of logits
            and auxiliary logits; it then names its auxiliary classifiers in an attribute ``auxiliary_heads``.
        spec: how it was built.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, body: nn.Module, spec: NetworkSpec) -> None:
        super().__init__()
        self.body = body
        self.spec = spec
        mean, std = (torch.tensor(values, dtype=torch.float64).view(1, -1, 1, 1) for values in (spec.mean, spec.std))
        self.register_buffer("scale", (1 / std).float(), persistent=False)
        self.register_buffer("shift", (-mean / std).float(), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits ``(N, K)`` or ``(N, K, H, W)`` of ``images (N, C, H, W)`` in ``[0, 1]``."""
        return self.forward_with_auxiliary(images)[0]

    def forward_with_auxiliary(self, images: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the logits ``(N, K)`` and, in training mode, those of each auxiliary classifier."""
        if self.spec.input_size is not None:
            size = (self.spec.input_size, self.spec.input_size)
            images = F.interpolate(images, size=size, mode="bilinear", antialias=True)
        outputs = self.body(self.normalize(images))
        if isinstance(outputs, Tensor):
            return outputs, ()
        logits, *auxiliary = outputs
        return logits, tuple(auxiliary)

    def normalize(self, images: Tensor) -> Tensor:
        """Return ``(images - mean) / std`` of ``images (N, C, H, W)`` in ``[0, 1]``, as a product and a sum: faster."""
        return (images * self.scale).add_(self.shift)

    def features(self, images: Tensor) -> Tensor:
        """Return what the classifier sees of ``images (N, C, H, W)``: ``(N, D)``, maps averaged over their pixels.

        Raises:
            ValueError: the network has no classifier for its number of classes, or does not call it on its features.
        """
        seen: list[Tensor] = []
        name = find_head(self.body, self.spec.num_classes)
        head = self.body.get_submodule(name)
        hook = head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        try:
            self(images)
        finally:
            hook.remove()
        features = average_pixels(seen[-1], head) if seen else images.new_empty(len(images), 0)
        width = head.in_channels if isinstance(head, nn.Conv2d) else head.in_features
        if features.shape != (len(images), width):
            raise ValueError(
                f"network: got features of shape {tuple(features.shape)} at {name!r} of {self.spec.name!r}, expected "
                f"{(len(images), width)}, the inputs of that layer; use a network that calls its classifier on them"
            )
        return features

    def no_weight_decay(self) -> set[str]:
        """Return the parameters, beside norms and biases, that the body's authors do not decay: timm asks for them."""
        return {f"body.{name}" for name in getattr(self.body, "no_weight_decay", set)()}

    def without_auxiliary(self) -> "Network":
        """Return a copy in evaluation mode that has no auxiliary classifiers: what is exported."""
        network = copy.deepcopy(self).eval()
        for name in getattr(network.body, "auxiliary_heads", ()):
            setattr(network.body, name, None)
            network.body.aux_logits = False  # type: ignore[assignment]
        return network


def average_pixels(features: Tensor, head: nn.Module) -> Tensor:
    """Return ``(N, D)``: means over all axes but the channels, which are the last of a linear head."""
    if features.ndim == 2:
        return features
    if isinstance(head, nn.Linear):
        return features.flatten(1, -2).mean(dim=1)
    return features.flatten(2).mean(dim=2)


def count_parameters(network: nn.Module) -> int:
    """Return the number of parameters, trained or frozen."""
    return sum(parameter.numel() for parameter in network.parameters())
