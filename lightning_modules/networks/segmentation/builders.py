"""The names of all segmentation networks, and what builds each."""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

import lightning_modules.networks.segmentation.smp_networks as smp_networks
import lightning_modules.networks.segmentation.torchvision_segmentation as torchvision_segmentation
from lightning_modules.networks.published import Published
from lightning_modules.networks.segmentation.fcn import CreateClassifier, create_fcn
from lightning_modules.networks.segmentation.folding import fold
from lightning_modules.networks.segmentation.unet import create_unet

ON_ENCODERS: dict[str, Callable[..., nn.Module]] = {
    "unet": create_unet,
    "fcn32s": partial(create_fcn, 0),
    "fcn16s": partial(create_fcn, 1),
    "fcn8s": partial(create_fcn, 2),
}
"""Our own, which a classification network may be a part of."""


def names() -> list[str]:
    """Return the names, those of an extra where it is installed."""
    return [*ON_ENCODERS, *torchvision_segmentation.NAMES, *smp_networks.names()]


def knows(name: str) -> bool:
    """Return whether there is a segmentation network of that name.

    Raises:
        ValueError: it is of an extra that is not installed.
    """
    if name.startswith(smp_networks.PREFIX):
        return name.removeprefix(smp_networks.PREFIX) in smp_networks.architectures()
    return name in ON_ENCODERS or name in torchvision_segmentation.NAMES


def published(name: str) -> Published:
    """Return what published weights of the whole network were trained on; those of an encoder go with its body."""
    return torchvision_segmentation.published(name) if name in torchvision_segmentation.NAMES else Published()


def create_body(
    name: str,
    num_classes: int,
    num_channels: int,
    pretrained: bool,
    options: dict[str, Any],
    create_classifier: CreateClassifier,
) -> nn.Module:
    """Build the segmentation network ``name``, which returns logits ``(N, K, H, W)``.

    Raises:
        ValueError: an encoder, an upsampling or published weights that are not there, or an option out of range.
        TypeError: an option that the network does not take.
    """
    if name in ON_ENCODERS:
        return create_own(name, num_classes, num_channels, pretrained, create_classifier, **options)
    if name in torchvision_segmentation.NAMES:
        build = partial(torchvision_segmentation.create_torchvision_segmentation, name)
    else:
        build = partial(smp_networks.create_smp, name.removeprefix(smp_networks.PREFIX))
    return build(num_classes=num_classes, num_channels=num_channels, pretrained=pretrained, **options)


def create_own(
    name: str,
    num_classes: int,
    num_channels: int,
    pretrained: bool,
    create_classifier: CreateClassifier,
    output_stride: int = 1,
    output_upsampling: str = "bilinear",
    **options: Any,
) -> nn.Module:
    """Build one of ``ON_ENCODERS``.

    Args:
        name: which.
        num_classes: classes ``K``.
        num_channels: channels ``C`` of the images.
        pretrained: take published weights of the encoder.
        create_classifier: builds the encoder.
        output_stride: side, in pixels, of the blocks that the network sees as one pixel; see ``Folded``.
        output_upsampling: how the scores of blocks become logits of pixels: ``bilinear`` or ``pixel_shuffle``.
        options: of the network.

    Raises:
        ValueError: the stride or its upsampling is out of range, or published weights, which are of single
            pixels, are asked for.
        TypeError: an option that the network does not take.
    """
    build = partial(ON_ENCODERS[name], create_classifier=create_classifier, pretrained=pretrained, **options)
    return fold(build, num_classes, num_channels, output_stride, output_upsampling, pretrained)
