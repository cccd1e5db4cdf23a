"""Networks by name: our own few, then everything of timm."""

import difflib
from collections.abc import Sequence
from typing import Any

import timm
from torch import nn

from lightning_modules.networks.network import Network, NetworkSpec
from lightning_modules.networks.plain_cnn import WIDTHS, PlainCNN


def available_networks() -> list[str]:
    """Return the names that ``create_network`` knows."""
    return [*WIDTHS, *timm.list_models()]


def create_network(
    name: str,
    *,
    num_classes: int,
    num_channels: int = 3,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    pretrained: bool = False,
    input_size: int | None = None,
    **options: Any,
) -> Network:
    """Build a network by name, wrapped so that it takes images in ``[0, 1]``.

    Args:
        name: one of ``available_networks()``.
        num_classes: classes ``K``.
        num_channels: channels ``C`` of the images.
        mean: per channel in ``[0, 1]``; default the network's own, else 0.5.
        std: likewise.
        pretrained: load timm's published weights; their mean and standard deviation then go before the ones given.
        input_size: side to which images are resized first.
        **options: handed to the builder, such as ``drop_rate``.

    Raises:
        ValueError: the name, or pretrained weights of it, are not there.
    """
    if name in WIDTHS:
        if pretrained:
            raise ValueError(f"pretrained: got True for {name!r}, expected False: it has no published weights")
        body: nn.Module = PlainCNN(WIDTHS[name], num_classes, num_channels, **options)
        published: dict[str, Any] = {}
    else:
        body = create_timm_body(name, num_classes, num_channels, pretrained, options)
        published = getattr(body, "pretrained_cfg", {})
    if pretrained:
        mean, std = None, None
    spec = NetworkSpec(
        name=name,
        num_classes=num_classes,
        num_channels=num_channels,
        mean=per_channel(mean or published.get("mean", (0.5,)), num_channels),
        std=per_channel(std or published.get("std", (0.5,)), num_channels),
        input_size=input_size,
        options=options,
    )
    return Network(body, spec)


def create_timm_body(
    name: str, num_classes: int, num_channels: int, pretrained: bool, options: dict[str, Any]
) -> nn.Module:
    """Build timm's model ``name``; say at once and clearly what is missing."""
    if not timm.is_model(name):
        nearest = difflib.get_close_matches(name, available_networks(), n=3)
        raise ValueError(
            f"network: got {name!r}, expected one of ours ({', '.join(WIDTHS)}) or a timm name"
            + (f"; did you mean {' or '.join(nearest)}?" if nearest else "")
        )
    try:
        body: nn.Module = timm.create_model(
            name, pretrained=pretrained, num_classes=num_classes, in_chans=num_channels, **options
        )
    except (OSError, RuntimeError) as error:
        if not pretrained:
            raise
        raise ValueError(
            f"pretrained: the weights of {name!r} could not be had ({first_line(error)}); "
            "use --teacher.checkpoint with a local file, or a machine that reaches the hub once"
        ) from error
    return body


def per_channel(values: Sequence[float], num_channels: int) -> tuple[float, ...]:
    """Return one value a channel; where the counts differ, their mean for every channel.

    Grey images are what RGB images with three equal channels are, so a published RGB mean becomes its average.
    """
    if len(values) == num_channels:
        return tuple(values)
    return (sum(values) / len(values),) * num_channels


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text."""
    return (str(error).splitlines() or [type(error).__name__])[0]
