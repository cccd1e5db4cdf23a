"""From settings to networks that fit the images."""

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from datamodules.sources.source import Source
from experiments.building import has_masks
from experiments.network_settings import RATES, NetworkSettings
from lightning_modules.checkpoints import rebuild
from lightning_modules.networks import Network, NetworkSpec, create_network
from lightning_modules.networks.names import SEGMENTATION, resolve
from lightning_modules.networks.registry import resized
from lightning_modules.networks.shapes import ShapesOnly
from lightning_modules.weights import load_weights, read_weights


def build_network(
    settings: NetworkSettings,
    source: Source,
    seed: int,
    *,
    option: str,
    exact: bool = False,
    say: Callable[[str], None] = lambda note: None,
) -> nn.Module:
    """Return a network for the source's classes and channels; the same seed gives the same initial weights.

    Args:
        settings: what the user set.
        source: the images.
        seed: of the initial weights.
        option: where the settings stand on the command line, for errors.
        exact: take a checkpoint as it is, with its head and its input.
        say: is told what of a checkpoint had to be replaced, a sentence at a time.

    Raises:
        ValueError: a checkpoint is of another network than the one asked for, or cannot be adapted to the source; or
            the network returns masks and the source has none.
    """
    torch.manual_seed(seed)
    file = None if settings.checkpoint is None else read_weights(settings.checkpoint)
    require_task(settings.name if file is None or file.spec is None else file.spec["name"], source, option)
    if file is None:
        return create_named(settings, source)
    if file.spec is None:
        require_name(settings, option)
        network = create_named(settings, source)
    else:
        settings = with_side(settings, file.spec["name"], source)
        require_same_network(settings, file.spec, option)
        if exact:
            require_fits(NetworkSpec(**file.spec), source, f"{option}.checkpoint {settings.checkpoint}")
        network = rebuild(file.spec, **arguments_for(settings, source))
    for note in load_weights(network, file, ignore_keys=settings.ignore_keys, exact=exact):
        say(f"{option}: {note}")
    return network


def require_task(name: str, source: Source, option: str) -> None:
    """Raise a ``ValueError`` where a network returns masks and the source's targets are classes, or conversely."""
    segments = resolve(name)[0] is SEGMENTATION
    if segments == has_masks(source):
        return
    given, expected = "one that classifies images", "a segmentation network such as unet"
    if segments:
        given, expected = "a segmentation network", given
    raise ValueError(
        f"{option}.network: got {name}, {given}, expected {expected}, which is what the targets of {source.name} are "
        "for; the command networks lists them"
    )


def create_named(settings: NetworkSettings, source: Source) -> Network:
    """Return the network that the settings name, with the source's normalisation."""
    return create_network(
        settings.name,
        mean=source.mean,
        std=source.std,
        pretrained=settings.pretrained,
        input_size=settings.input_size,
        stem=settings.stem,
        **arguments_for(settings, source),
    )


def arguments_for(settings: NetworkSettings, source: Source) -> dict[str, Any]:
    """Return the arguments of ``create_network`` that hold for a checkpoint's network too."""
    rates = {rate: getattr(settings, rate) for rate in RATES if getattr(settings, rate) is not None}
    return {
        "num_classes": source.num_classes,
        "num_channels": source.num_channels,
        "image_size": image_side(source),
        **rates,
        **settings.options,
    }


def image_side(source: Source) -> int | None:
    """Return the smaller side of the first training image that can be read, in pixels."""
    for index in range(len(source.train)):
        images, _ = source.train.read(torch.tensor([index]))
        if len(images):
            return min(images.shape[-2:])
    return None


def require_name(settings: NetworkSettings, option: str) -> None:
    """Raise a ``ValueError`` where weights come from a file that does not say which network they are of."""
    if settings.network is None:
        raise ValueError(
            f"{option}.network: got None, expected the network that {settings.checkpoint} holds the weights of: the "
            "file does not say; name it"
        )


def with_side(settings: NetworkSettings, name: str, source: Source) -> NetworkSettings:
    """Return the settings with the input size that their resolution multiplier, if there is one, means."""
    options = dict(settings.options)
    multiplier = options.pop("resolution_multiplier", None)
    side = resized(resolve(name)[1], image_side(source), settings.input_size, multiplier)
    return dataclasses.replace(settings, options=options, input_size=side)


def require_same_network(settings: NetworkSettings, spec: dict[str, Any], option: str) -> None:
    """Raise a ``ValueError`` where a setting contradicts how the network of one of our checkpoints was built.

    The rates of dropout and stochastic depth have no weights: they may be given anew.
    """
    built: dict[str, Any] = {"input_size": spec["input_size"], "stem": spec["options"].get("stem", "standard")}
    stem = None if settings.stem == "auto" else settings.stem
    asked: dict[str, Any] = {"input_size": settings.input_size, "stem": stem}
    for name in settings.options.keys() - set(RATES):
        if name in spec["options"] or changes_layers(spec, name, settings.options[name]):
            built[f"options.{name}"], asked[f"options.{name}"] = spec["options"].get(name), settings.options[name]
    if settings.network is not None and resolve(settings.network) != resolve(spec["name"]):
        built["network"], asked["network"] = spec["name"], settings.network
    for name, value in asked.items():
        if value is not None and value != built[name]:
            raise ValueError(
                f"{option}.{name}: got {value!r}, but {settings.checkpoint} was trained with {built[name]!r}; leave it "
                "out to take the checkpoint's, or choose another checkpoint"
            )


def changes_layers(spec: dict[str, Any], name: str, value: Any) -> bool:
    """Return whether an option that was not given when a network was built changes it; a default does not."""
    with torch.device("meta"), ShapesOnly():
        return repr(rebuild(spec)) != repr(rebuild(spec, **{name: value}))


def require_fits(network: nn.Module | NetworkSpec, source: Source, option: str) -> None:
    """Raise a ``ValueError`` unless a network returns what the source's targets are, and has its numbers of both."""
    spec = network if isinstance(network, NetworkSpec) else getattr(network, "spec", None)
    if spec is None:
        return
    require_task(spec.name, source, option)
    for what in ("num_classes", "num_channels"):
        if getattr(spec, what) != getattr(source, what):
            raise ValueError(
                f"{option}: its {what} is {getattr(spec, what)}, {source.name} has {getattr(source, what)}; "
                f"expected a network for the same data"
            )
