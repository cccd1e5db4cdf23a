"""Every network of timm."""

from collections.abc import Callable
from typing import Any

import timm
from torch import nn

from lightning_modules.networks.noise import require_noise
from lightning_modules.networks.published import Published, cannot_be_had, hub_without_retries


def names() -> list[str]:
    """Return timm's names, without the tags of their weights."""
    return list(timm.list_models())


def knows(name: str) -> bool:
    """Return whether timm has a model of that name and, where a tag follows it, weights of that tag."""
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        return False
    return not tag or name in timm.list_pretrained(f"{architecture}.*")


def published(name: str) -> Published:
    """Return what the weights of ``name`` were trained on."""
    settings = timm.get_pretrained_cfg(name)
    if settings is None:
        return Published()
    return Published(tuple(settings.mean), tuple(settings.std), settings.input_size[-1])


def create_body(name: str, num_classes: int, num_channels: int, pretrained: bool, options: dict[str, Any]) -> nn.Module:
    """Build timm's model ``name``.

    Raises:
        ValueError: published weights that are not there or cannot be reached, or a rate that the model lacks.
        TypeError: an option that the model does not take.
    """

    def build(pretrained: bool) -> nn.Module:
        body: nn.Module = timm.create_model(
            name, num_classes=num_classes, in_chans=num_channels, pretrained=pretrained, **options
        )
        return body

    body = with_weights(name, build) if pretrained else build(False)
    require_noise(name, body, options.get("drop_rate"), options.get("drop_path_rate"))
    return body


def with_weights(name: str, build: Callable[[bool], nn.Module]) -> nn.Module:
    """Return timm's model with its published weights; its head is new where the number of classes differs."""
    settings = timm.get_pretrained_cfg(name)
    repository = getattr(settings, "hf_hub_id", None) or ""
    try:
        with hub_without_retries(repository):
            return build(True)
    except (OSError, RuntimeError) as error:
        raise cannot_be_had(name, (str(error).splitlines() or [type(error).__name__])[0]) from error
