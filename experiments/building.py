"""From settings to the things themselves: datamodules, networks, trainers."""

import dataclasses
import os
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from datamodules.augmentation.mixing import CutMix, MixUp
from datamodules.labeled import LabeledDataModule
from datamodules.sources import create_source
from datamodules.sources.class_subset import select_classes
from datamodules.sources.source import Source
from datamodules.unlabeled import UnlabeledDataModule
from datamodules.views import Mixing, View, create_policy
from experiments.commands import DataCommand
from experiments.files import as_path
from experiments.network_settings import RATES, NetworkSettings
from experiments.settings import AugmentationSettings, DataSettings
from lightning_modules.checkpoints import rebuild
from lightning_modules.networks import Network, NetworkSpec, create_network
from lightning_modules.networks.names import resolve
from lightning_modules.networks.registry import resized
from lightning_modules.networks.shapes import ShapesOnly
from lightning_modules.weights import load_weights, read_weights


def build_source(settings: DataSettings) -> Source:
    """Return the source that the data settings name."""
    source = create_source(
        settings.source,
        root=as_path(settings.root),
        download=settings.download,
        manifest=as_path(settings.manifest),
        unlabeled=as_path(settings.unlabeled),
        image_size=settings.image_size,
        crop_scale=settings.crop_scale,
        max_pixels=settings.max_pixels,
        on_bad_image=settings.on_bad_image,
        max_bad_images=settings.max_bad_images,
        cache=as_path(settings.cache),
    )
    return source if settings.classes is None else select_classes(source, settings.classes)


def build_view(settings: AugmentationSettings, seed: int, option: str = "data.augmentation") -> View:
    """Return what makes the views of training images; ``option`` is what the user calls the settings."""
    options = dataclasses.asdict(settings)
    mixing = {"mixup_alpha", "cutmix_alpha"}
    try:
        policy = create_policy(options.pop("policy"), **{k: v for k, v in options.items() if k not in mixing})
    except ValueError as error:
        raise ValueError(f"{option}.{error}") from error
    return View(policy, seed)


def build_mixing(settings: AugmentationSettings, num_classes: int, seed: int) -> Mixing | None:
    """Return what mixes pairs of a training batch, ``None`` where nothing is mixed."""
    candidates: list[tuple[float, Callable[[int, float], MixUp | CutMix]]] = [
        (settings.mixup_alpha, MixUp),
        (settings.cutmix_alpha, CutMix),
    ]
    operations = tuple(kind(num_classes, alpha) for alpha, kind in candidates if alpha > 0)
    return Mixing(operations, seed) if operations else None


def build_labeled(
    source: Source,
    command: DataCommand,
    *,
    all_labels: bool = False,
    steps_per_epoch: int | None = None,
    augmentation: AugmentationSettings | None = None,
) -> LabeledDataModule:
    """Return the labelled data.

    Args:
        source: the images.
        command: what the user set.
        all_labels: every training sample keeps its label; validation and test stay the same.
        steps_per_epoch: goes before the user's, to match the steps of another stage.
        augmentation: goes before the user's, for a stage with views of its own.
    """
    data = command.data
    augmentation = augmentation or data.augmentation
    return LabeledDataModule(
        source,
        batch_size=data.batch_size,
        labels_per_class=None if all_labels else data.labels_per_class,
        num_validation=data.num_validation,
        split_seed=command.seed if data.split_seed is None else data.split_seed,
        seed=command.seed,
        view=build_view(augmentation, command.seed),
        mixing=build_mixing(augmentation, source.num_classes, command.seed),
        steps_per_epoch=steps_per_epoch or data.steps_per_epoch,
        eval_batch_size=data.eval_batch_size,
        num_workers=data.num_workers,
    )


def build_unlabeled(labeled: LabeledDataModule, data: DataSettings) -> UnlabeledDataModule:
    """Return the labelled data with its unlabelled pool beside it."""
    return UnlabeledDataModule(labeled, batch_size=data.unlabeled_batch_size, steps_per_epoch=data.steps_per_epoch)


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
        ValueError: a checkpoint is of another network than the one asked for, or cannot be adapted to the source.
    """
    torch.manual_seed(seed)
    if settings.checkpoint is None:
        return create_named(settings, source)
    file = read_weights(settings.checkpoint)
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
    """Raise a ``ValueError`` unless a network has the source's numbers of classes and channels."""
    spec = network if isinstance(network, NetworkSpec) else getattr(network, "spec", None)
    if spec is None:
        return
    for what in ("num_classes", "num_channels"):
        if getattr(spec, what) != getattr(source, what):
            raise ValueError(
                f"{option}: its {what} is {getattr(spec, what)}, {source.name} has {getattr(source, what)}; "
                f"expected a network for the same data"
            )


def describe_device(device: torch.device) -> str:
    """Return the device's name: ``cpu`` with its number of cores, or the GPU's model."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({os.cpu_count()} cores)" if device.type == "cpu" else device.type
