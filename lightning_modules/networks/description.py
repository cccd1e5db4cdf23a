"""What a listing says of a network, without a weight being made."""

from dataclasses import dataclass

import torch

from lightning_modules.networks.names import resolve
from lightning_modules.networks.network import count_parameters
from lightning_modules.networks.shapes import ShapesOnly


@dataclass(frozen=True)
class NetworkDescription:
    """A network in a listing.

    Attributes:
        name: in the registry.
        origin: ``ours``, ``torchvision``, ``timm`` or ``segmentation``.
        parameters: their number, auxiliary classifiers among them.
        input_size: side of the images its published weights were trained on, ``None`` where there are none.
    """

    name: str
    origin: str
    parameters: int
    input_size: int | None


def describe_network(name: str, *, num_classes: int = 1000, num_channels: int = 3) -> NetworkDescription:
    """Describe a network for so many classes and channels.

    Args:
        name: one of ``available_networks()``.
        num_classes: classes ``K``.
        num_channels: channels ``C`` of the images.

    Raises:
        ValueError: the name is not there.
    """
    origin, plain_name = resolve(name)
    with torch.device("meta"), ShapesOnly():
        body = origin.create_body(plain_name, num_classes, num_channels, False, {})
    return NetworkDescription(
        name=name,
        origin=origin.name,
        parameters=count_parameters(body),
        input_size=origin.published(plain_name).input_size,
    )
