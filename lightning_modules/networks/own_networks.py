"""Our own networks, gathered from the tables of their files."""

from collections.abc import Callable
from typing import Any

from torch import nn

import lightning_modules.networks.deformable_resnet as deformable_resnet
import lightning_modules.networks.lenet as lenet
import lightning_modules.networks.mobilenet_v1 as mobilenet_v1
import lightning_modules.networks.plain_cnn as plain_cnn
import lightning_modules.networks.residual_cifar as residual_cifar
import lightning_modules.networks.vgg_cifar as vgg_cifar
import lightning_modules.networks.wide_residual as wide_residual
from lightning_modules.networks.published import Published

NETWORKS: dict[str, Callable[..., nn.Module]] = {
    **plain_cnn.NETWORKS,
    **lenet.NETWORKS,
    **residual_cifar.NETWORKS,
    **wide_residual.NETWORKS,
    **vgg_cifar.NETWORKS,
    **mobilenet_v1.NETWORKS,
    **deformable_resnet.NETWORKS,
}


def names() -> list[str]:
    """Return the names of our own networks."""
    return list(NETWORKS)


def published(name: str) -> Published:
    """Return what weights that others published of the plain network were trained on, else nothing."""
    return deformable_resnet.published(name) if name in deformable_resnet.NETWORKS else Published()


def create_body(name: str, num_classes: int, num_channels: int, pretrained: bool, options: dict[str, Any]) -> nn.Module:
    """Build our network ``name`` with random weights or, where it has a plain network's, published ones.

    Raises:
        ValueError: ``pretrained`` without published weights, or with those that cannot be reached.
        TypeError: an option that the network does not take.
    """
    if pretrained and name in deformable_resnet.NETWORKS:
        options = options | {"pretrained": True}
    elif pretrained:
        raise ValueError(f"pretrained: got True for {name!r}, expected False: it has no published weights")
    return NETWORKS[name](num_classes=num_classes, num_channels=num_channels, **options)
