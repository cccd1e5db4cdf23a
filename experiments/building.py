"""From settings to the data."""

import dataclasses
from collections.abc import Callable

from datamodules.augmentation.mixing import CutMix, MixUp
from datamodules.labeled import LabeledDataModule
from datamodules.sources import create_source
from datamodules.sources.class_subset import select_classes
from datamodules.sources.source import Source
from datamodules.unlabeled import UnlabeledDataModule
from datamodules.views import Mixing, View, create_policy
from experiments.commands import DataCommand
from experiments.files import as_path
from experiments.settings import AugmentationSettings, DataSettings


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
