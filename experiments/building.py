"""From settings to the data."""

import inspect
from collections.abc import Callable
from typing import Any

from datamodules.augmentation.joint import CutMixMasks
from datamodules.augmentation.mixing import CutMix, MixUp
from datamodules.labeled import LabeledDataModule
from datamodules.mask_views import MaskView, create_mask_policy
from datamodules.segmentation import SegmentationDataModule
from datamodules.sources import create_source
from datamodules.sources.class_subset import select_classes
from datamodules.sources.source import Source
from datamodules.unlabeled import UnlabeledDataModule
from datamodules.views import Mixing, Policy, View, create_policy
from experiments.commands import DataCommand
from experiments.files import as_path
from experiments.settings import AugmentationSettings, DataSettings

MIXING = ("mixup_alpha", "cutmix_alpha")
"""Augmentation of pairs, which is not part of a view."""


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
        class_file=as_path(settings.class_file),
        test_fraction=settings.test_fraction,
        num_scenes=settings.num_scenes,
        side=settings.side,
    )
    return source if settings.classes is None else select_classes(source, settings.classes)


def has_masks(source: Source) -> bool:
    """Return whether the source's targets are masks."""
    return source.train.masks is not None


def build_view(settings: AugmentationSettings, seed: int, source: Source, option: str = "data.augmentation") -> View:
    """Return what makes the views of training images; ``option`` is what the user calls the settings.

    Raises:
        ValueError: an option is out of range, or the views of such images have none of that name.
    """
    create: Callable[..., Policy] = create_mask_policy if has_masks(source) else create_policy
    given = {name: value for name, value in vars(settings).items() if name not in MIXING and value is not None}
    policy = given.pop("policy")
    known = inspect.signature(create).parameters
    for name in given.keys() - known.keys():
        raise ValueError(
            f"{option}.{name}: got {given[name]}, expected null: the views of images {kind_of(source)} have no such "
            f"option; they have {', '.join(list(known)[1:])}"
        )
    try:
        made = create(policy, **given)
    except ValueError as error:
        raise ValueError(f"{option}.{error}") from error
    return MaskView(made, seed) if has_masks(source) else View(made, seed)


def build_mixing(
    settings: AugmentationSettings, source: Source, seed: int, option: str = "data.augmentation"
) -> Mixing | None:
    """Return what mixes pairs of a training batch, ``None`` where nothing is mixed.

    Raises:
        ValueError: images with masks are to be blended.
    """
    if not has_masks(source):
        operations: list[Any] = [
            kind(source.num_classes, alpha)
            for alpha, kind in ((settings.mixup_alpha, MixUp), (settings.cutmix_alpha, CutMix))
            if alpha > 0
        ]
        return Mixing(tuple(operations), seed) if operations else None
    if settings.mixup_alpha > 0:
        raise ValueError(
            f"{option}.mixup_alpha: got {settings.mixup_alpha}, expected 0: a pixel of a mask has one class; "
            "images with masks are mixed by cutmix_alpha"
        )
    return Mixing((CutMixMasks(settings.cutmix_alpha),), seed) if settings.cutmix_alpha > 0 else None


def kind_of(source: Source) -> str:
    """Return what a message calls the images: with masks or without."""
    return "with masks" if has_masks(source) else "without masks"


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
    data_module: Callable[..., LabeledDataModule] = SegmentationDataModule if has_masks(source) else LabeledDataModule
    augmentation = augmentation or data.augmentation
    return data_module(
        source,
        **labeled_subset(data, source, all_labels),
        batch_size=data.batch_size,
        num_validation=data.num_validation,
        split_seed=command.seed if data.split_seed is None else data.split_seed,
        seed=command.seed,
        view=build_view(augmentation, command.seed, source),
        mixing=build_mixing(augmentation, source, command.seed),
        steps_per_epoch=steps_per_epoch or data.steps_per_epoch,
        eval_batch_size=data.eval_batch_size or (64 if has_masks(source) else 256),
        num_workers=data.num_workers,
    )


def labeled_subset(data: DataSettings, source: Source, all_labels: bool) -> dict[str, Any]:
    """Return which samples keep their labels, as the source's data module takes it.

    Raises:
        ValueError: it is said in a way that the other kind of source has.
    """
    known = ("num_labeled", "labeled_fraction") if has_masks(source) else ("labels_per_class",)
    for name in ("labels_per_class", "num_labeled", "labeled_fraction"):
        value = getattr(data, name)
        if value is not None and name not in known:
            raise ValueError(
                f"data.{name}: got {value}, expected null: {source.name} has images {kind_of(source)}, of which "
                f"{' or '.join(f'data.{other}' for other in known)} says how many are labelled"
            )
    return {} if all_labels else {name: getattr(data, name) for name in known}


def build_unlabeled(labeled: LabeledDataModule, data: DataSettings) -> UnlabeledDataModule:
    """Return the labelled data with its unlabelled pool beside it."""
    return UnlabeledDataModule(labeled, batch_size=data.unlabeled_batch_size, steps_per_epoch=data.steps_per_epoch)
