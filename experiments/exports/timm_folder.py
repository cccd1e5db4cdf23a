"""An exported folder that timm loads too: ``timm.create_model("local-dir:DIR", pretrained=True)``."""

from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from lightning_modules.networks import Network
from lightning_modules.networks.names import TIMM, resolve
from lightning_modules.networks.registry import RATES

TOLERANCE = 1e-4
"""Largest difference of logits, as a share of their spread, of the same layers built by timm and by us."""
ABOUT_LAYERS = ("first_conv", "classifier", "pool_size", "fixed_input_size")
"""What timm's configurations say of the layers, by which it adapts them to other images and classes."""


def timm_config(network: Network, images: Tensor) -> dict[str, Any]:
    """Return what timm expects in ``config.json``; nothing for a network that is not timm's.

    timm applies mean and standard deviation in its transforms, so that they stand in the configuration.

    Args:
        network: ours.
        images: ``(N, C, H, W)``, as it takes them.
    """
    spec = network.spec
    origin, name = resolve(spec.name)
    if origin is not TIMM:
        return {}
    height, width = (spec.input_size,) * 2 if spec.input_size else images.shape[-2:]
    published: dict[str, Any] = getattr(network.body, "pretrained_cfg", None) or {}
    options = {key: value for key, value in spec.options.items() if key not in (*RATES, "stem")}
    return {
        "architecture": name.partition(".")[0],
        "num_classes": spec.num_classes,
        "num_features": network.body.num_features,
        "model_args": options | {"in_chans": spec.num_channels},
        "pretrained_cfg": {key: published[key] for key in ABOUT_LAYERS if key in published}
        | {
            "input_size": [spec.num_channels, height, width],
            "interpolation": "bilinear",
            "crop_pct": 1.0,
            "mean": list(spec.mean),
            "std": list(spec.std),
            "num_classes": spec.num_classes,
        },
    }


def loads_in_timm(directory: Path, network: Network, images: Tensor) -> bool:
    """Return whether timm builds the same network from a folder: it has no small stems, for one.

    Args:
        directory: with ``model.safetensors`` and ``config.json``.
        network: what was written there.
        images: ``(N, C, H, W)`` in ``[0, 1]``, which both are given.
    """
    if resolve(network.spec.name)[0] is not TIMM:
        return False
    try:
        theirs = timm.create_model(f"local-dir:{directory}", pretrained=True).eval()
        inputs, logits = inputs_of_body(network, images)
        with torch.no_grad():
            difference = (theirs(inputs) - logits).abs().max()
    except Exception:  # whatever it raises, it does not load
        return False
    return bool(difference <= TOLERANCE * (logits.max() - logits.min()))


@torch.no_grad()
def inputs_of_body(network: Network, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return normalised, resized ``images (N, C, H, W)`` and the logits of them."""
    seen: list[Tensor] = []

    def remember(body: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen.append(inputs[0].clone())

    hook = network.body.register_forward_pre_hook(remember)
    try:
        logits = network(images)
    finally:
        hook.remove()
    return seen[0], logits
