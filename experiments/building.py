"""From settings to the things themselves: datamodules, networks, trainers."""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from datamodules.augmentation.mixing import CutMix, MixUp
from datamodules.labeled import LabeledDataModule
from datamodules.sources import create_source
from datamodules.sources.source import Source
from datamodules.unlabeled import UnlabeledDataModule
from datamodules.views import Mixing, View, create_policy
from experiments.commands import Command
from experiments.settings import AugmentationSettings, DataSettings, NetworkSettings
from lightning_modules.checkpoints import load_network
from lightning_modules.networks import create_network


def build_source(settings: DataSettings) -> Source:
    """Return the source that the data settings name."""
    return create_source(
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


def as_path(text: str | None) -> Path | None:
    """Return the path that a setting names, ``~`` expanded."""
    return None if text is None else Path(text).expanduser()


def build_view(settings: AugmentationSettings, seed: int) -> View:
    """Return what makes the views of training images."""
    options = dataclasses.asdict(settings)
    mixing = {"mixup_alpha", "cutmix_alpha"}
    try:
        policy = create_policy(options.pop("policy"), **{k: v for k, v in options.items() if k not in mixing})
    except ValueError as error:
        raise ValueError(f"data.augmentation.{error}") from error
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
    source: Source, command: Command, *, all_labels: bool = False, steps_per_epoch: int | None = None
) -> LabeledDataModule:
    """Return the labelled data.

    Args:
        source: the images.
        command: what the user set.
        all_labels: every training sample keeps its label; validation and test stay the same.
        steps_per_epoch: goes before the user's, to match the steps of another stage.
    """
    data = command.data
    return LabeledDataModule(
        source,
        batch_size=data.batch_size,
        labels_per_class=None if all_labels else data.labels_per_class,
        num_validation=data.num_validation,
        split_seed=command.seed if data.split_seed is None else data.split_seed,
        seed=command.seed,
        view=build_view(data.augmentation, command.seed),
        mixing=build_mixing(data.augmentation, source.num_classes, command.seed),
        steps_per_epoch=steps_per_epoch or data.steps_per_epoch,
        eval_batch_size=data.eval_batch_size,
        num_workers=data.num_workers,
    )


def build_unlabeled(labeled: LabeledDataModule, data: DataSettings) -> UnlabeledDataModule:
    """Return the labelled data with its unlabelled pool beside it."""
    return UnlabeledDataModule(labeled, batch_size=data.unlabeled_batch_size, steps_per_epoch=data.steps_per_epoch)


def build_network(settings: NetworkSettings, source: Source, seed: int, *, option: str) -> nn.Module:
    """Return a network for the source's classes and channels; the same seed gives the same initial weights.

    Raises:
        ValueError: a checkpoint has another number of classes or channels than the source.
    """
    torch.manual_seed(seed)
    if settings.checkpoint is None:
        return create_network(
            settings.network,
            num_classes=source.num_classes,
            num_channels=source.num_channels,
            mean=source.mean,
            std=source.std,
            pretrained=settings.pretrained,
            input_size=settings.input_size,
            **settings.options,
        )
    network = load_network(settings.checkpoint)
    require_fits(network, source, f"{option}.checkpoint {settings.checkpoint}")
    return network


def require_fits(network: nn.Module, source: Source, option: str) -> None:
    """Raise a ``ValueError`` unless a network has the source's numbers of classes and channels."""
    spec = getattr(network, "spec", None)
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
