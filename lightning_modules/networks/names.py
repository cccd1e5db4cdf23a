"""The names of all networks, and who builds each."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

from torch import nn

import lightning_modules.networks.own_networks as own_networks
import lightning_modules.networks.segmentation.builders as segmentation
import lightning_modules.networks.timm_networks as timm_networks
import lightning_modules.networks.torchvision_networks as torchvision_networks
from lightning_modules.networks.published import Published


@dataclass(frozen=True)
class Origin:
    """Where networks come from.

    Attributes:
        name: as listings have it.
        names: returns the names of its networks.
        create_body: builds one: ``(name, num_classes, num_channels, pretrained, options)``.
        published: returns what a network's published weights were trained on.
    """

    name: str
    names: Callable[[], list[str]]
    create_body: Callable[[str, int, int, bool, dict[str, Any]], nn.Module]
    published: Callable[[str], Published]


OURS, TORCHVISION, TIMM = (
    Origin(label, module.names, module.create_body, module.published)
    for label, module in (("ours", own_networks), ("torchvision", torchvision_networks), ("timm", timm_networks))
)


def create_classifier(
    name: str, num_classes: int, num_channels: int, pretrained: bool, options: dict[str, Any]
) -> tuple[nn.Module, Published]:
    """Build the encoder ``name``, a classification network, and say what its published weights were trained on.

    Raises:
        ValueError: the name is not there or of a segmentation network, or the network cannot be built so.
        TypeError: an option that the network does not take.
    """
    origin, plain_name = resolve(name, "encoder")
    if origin is SEGMENTATION:
        raise ValueError(f"encoder: got {name!r}, expected a classification network; use one such as resnet18")
    body = origin.create_body(plain_name, num_classes, num_channels, pretrained, options)
    return body, origin.published(plain_name)


SEGMENTATION = Origin(
    "segmentation",
    segmentation.names,
    partial(segmentation.create_body, create_classifier=create_classifier),
    segmentation.published,
)
"""Networks of all three and of others, whose logits are ``(N, K, H, W)``."""


def resolve(name: str, option: str = "network") -> tuple[Origin, str]:
    """Return who builds a network, and its name there.

    ``torchvision/NAME`` and ``timm/NAME`` say it; else it is ours, then torchvision's that we adapted, then timm's. The
    names of segmentation networks nobody else has.

    Args:
        name: of the network.
        option: where the name was given, which the error names.

    Raises:
        ValueError: nobody does; the message offers the nearest names.
    """
    prefix, slash, rest = name.partition("/")
    if slash and prefix == TORCHVISION.name and rest in TORCHVISION.names():
        return TORCHVISION, rest
    if slash and prefix == TIMM.name and timm_networks.knows(rest):
        return TIMM, rest
    if name in own_networks.NETWORKS:
        return OURS, name
    if name in torchvision_networks.ADAPTED:
        return TORCHVISION, name
    if not slash and timm_networks.knows(name):
        return TIMM, name
    if segmentation.knows(name):
        return SEGMENTATION, name
    raise unknown(name, option)


def available_networks(pattern: str | None = None) -> list[str]:
    """Return the names that ``create_network`` knows, by origin; a prefix stands only where it is needed.

    Args:
        pattern: keep the names that contain it or, with ``*``, ``?`` or ``[...]`` in it, match it as a whole.
    """
    short = [*OURS.names(), *torchvision_networks.ADAPTED]
    taken = set(short)
    from_timm = [name if name not in taken else f"timm/{name}" for name in TIMM.names()]
    others = [f"torchvision/{name}" for name in TORCHVISION.names() if name not in torchvision_networks.ADAPTED]
    names = [*short, *from_timm, *others, *SEGMENTATION.names()]
    if pattern is None:
        return names
    return [name for name in names if pattern in name or fnmatchcase(name, pattern)]


def unknown(name: str, option: str) -> ValueError:
    """Return the error for a name that nobody knows, with the nearest names of all origins."""
    bare = {full.rpartition("/")[2]: full for full in reversed(available_networks())}
    nearest = [bare[match] for match in difflib.get_close_matches(name.rpartition("/")[2], bare, n=3)]
    hint = f"did you mean {' or '.join(nearest)}?" if nearest else "available_networks() lists them"
    return ValueError(f"{option}: got {name!r}, expected a name of ours, of timm, or torchvision/NAME; {hint}")
