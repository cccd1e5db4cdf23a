"""Views: what a learner sees of a sample, a pure function of seed, epoch and sample id."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from datamodules.augmentation.color import ColorJitter
from datamodules.augmentation.crop import FlipAndCrop
from datamodules.augmentation.erasing import RandomErasing
from datamodules.augmentation.geometry import RandomAffine
from datamodules.augmentation.keys import fold_in, mix_integer, random_integers, sample_keys
from datamodules.augmentation.mixing import of_pairs
from datamodules.augmentation.randaugment import NUM_BINS, RandAugment
from datamodules.augmentation.resized_crop import RandomResizedCrop
from datamodules.batch import unit_interval

MIXING_STREAM = 1 << 32
"""Stream of the random numbers of mixing, apart from those of the operations on single images."""

Operation = Callable[[Tensor, Tensor], Tensor]
"""Takes ``images (N, C, H, W)`` uint8 and ``keys (N,)``, returns ``(N, C, H, W)`` uint8."""


@dataclass(frozen=True)
class Policy:
    """A named sequence of operations; each has its own stream of random numbers.

    Attributes:
        name: what it is called in settings and tables.
        operations: applied in this order.
    """

    name: str
    operations: tuple[Operation, ...] = ()

    def __call__(self, images: Tensor, keys: Tensor) -> Tensor:
        """Return ``(N, C, H, W)`` uint8 of ``images (N, C, H, W)`` uint8, steered by ``keys (N,)``."""
        for position, operation in enumerate(self.operations):
            # Operations fold in numbers from 0 on, policies negative ones: no two draw from one key.
            images = operation(images, fold_in(keys, -position) if position else keys)
        return images


@dataclass(frozen=True)
class View:
    """Turns pixels into the images that a learner sees.

    Attributes:
        policy: what happens to the pixels.
        seed: another seed, other views.
    """

    policy: Policy
    seed: int = 0

    def __call__(self, pixels: Tensor, ids: Tensor, epochs: Tensor) -> Tensor:
        """Return ``(N, C, H, W)`` float32 in ``[0, 1]``, on the pixels' device.

        Args:
            pixels: ``(N, C, H, W)`` uint8.
            ids: ``(N,)`` int64.
            epochs: ``(N,)`` int64, how often each sample was seen before.

        Raises:
            ValueError: the pixels are not uint8.
        """
        if pixels.dtype != torch.uint8:
            raise ValueError(f"pixels: got {pixels.dtype}, expected torch.uint8; convert with .mul(255).round().byte()")
        if self.policy.operations:
            device = pixels.device
            # Mixed once more, the seed gives streams that no other user of it draws from.
            keys = sample_keys(mix_integer(self.seed), epochs.to(device), ids.to(device))
            pixels = self.policy(pixels, keys)
        return unit_interval(pixels)


@dataclass(frozen=True)
class Mixing:
    """Mixes the pairs of a training batch, images and targets; of several operations each pair takes one.

    Attributes:
        operations: such as MixUp and CutMix: take images, targets and keys, return images and soft targets.
        seed: another seed, other shares.
    """

    operations: tuple[Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]], ...]
    seed: int = 0

    def __call__(self, images: Tensor, targets: Tensor, ids: Tensor, epochs: Tensor) -> tuple[Tensor, Tensor]:
        """Return images ``(N, C, H, W)`` and targets ``(N, K)`` of a batch whose neighbours are mixed.

        Args:
            images: ``(N, C, H, W)`` float in ``[0, 1]``.
            targets: ``(N,)`` int64, -1 where unlabelled; these become rows of zeros.
            ids: ``(N,)`` int64.
            epochs: ``(N,)`` int64, how often each sample was seen before.
        """
        keys = fold_in(sample_keys(mix_integer(self.seed), epochs.to(ids.device), ids), MIXING_STREAM)
        mixed = [operation(images, targets, keys) for operation in self.operations]
        if len(mixed) == 1:
            return mixed[0]
        choice = of_pairs(random_integers(fold_in(keys, MIXING_STREAM), 0, len(mixed)))
        images, targets = (torch.stack(values) for values in zip(*mixed, strict=True))
        samples = torch.arange(len(choice), device=choice.device)
        return images[choice, samples], targets[choice, samples]


@dataclass(frozen=True)
class PolicyOptions:
    """What a policy is made of, in the order in which it is applied; 0 or false leaves a part out.

    Attributes:
        horizontal_flip: mirror half of the images.
        crop_padding: pad by so many zero pixels and crop back at a random place.
        resized_crop_scale: crop between this share of the area and all of it, and resize to the size before.
        rotation_degrees: rotate by up to so many degrees either way.
        translation: shift by up to this fraction of the size.
        brightness: multiply brightness by up to ``1 ± brightness``.
        contrast: likewise.
        saturation: likewise; grey images have none.
        num_ops: RandAugment's number of operations.
        magnitude: RandAugment's magnitude, 0 to 30.
        erasing_probability: share of the images that lose a rectangle.
    """

    horizontal_flip: bool = False
    crop_padding: int = 0
    resized_crop_scale: float = 0.0
    rotation_degrees: float = 0.0
    translation: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    num_ops: int = 0
    magnitude: int = 9
    erasing_probability: float = 0.0

    def operations(self) -> tuple[Operation, ...]:
        """Return the operations that these options ask for."""
        candidates: list[tuple[bool, Operation]] = [
            (self.resized_crop_scale > 0, RandomResizedCrop(scale=(self.resized_crop_scale, 1.0))),
            (self.horizontal_flip or self.crop_padding > 0, FlipAndCrop(self.horizontal_flip, self.crop_padding)),
            (self.rotation_degrees > 0 or self.translation > 0, RandomAffine(self.rotation_degrees, self.translation)),
            (
                max(self.brightness, self.contrast, self.saturation) > 0,
                ColorJitter(self.brightness, self.contrast, self.saturation),
            ),
            (self.num_ops > 0, RandAugment(self.num_ops, self.magnitude)),
            (self.erasing_probability > 0, RandomErasing(self.erasing_probability)),
        ]
        return tuple(operation for wanted, operation in candidates if wanted)


POLICIES = {
    "none": PolicyOptions(),
    "weak": PolicyOptions(horizontal_flip=True, crop_padding=4),
    "strong": PolicyOptions(horizontal_flip=True, crop_padding=4, num_ops=2, magnitude=9, erasing_probability=0.25),
}
"""The policies by name, as published for 32 x 32 images: flip and shift; the same, RandAugment(2, 9) and erasing."""

LARGEST = {
    "crop_padding": 1024,
    "resized_crop_scale": 1.0,
    "rotation_degrees": 180.0,
    "translation": 1.0,
    "brightness": 10.0,
    "contrast": 10.0,
    "saturation": 10.0,
    "num_ops": 14,
    "magnitude": NUM_BINS - 1,
    "erasing_probability": 1.0,
}
"""Largest value of each option; the smallest is 0."""


def create_policy(
    name: str,
    *,
    horizontal_flip: bool | None = None,
    crop_padding: int | None = None,
    resized_crop_scale: float | None = None,
    rotation_degrees: float | None = None,
    translation: float | None = None,
    brightness: float | None = None,
    contrast: float | None = None,
    saturation: float | None = None,
    num_ops: int | None = None,
    magnitude: int | None = None,
    erasing_probability: float | None = None,
) -> Policy:
    """Return the policy ``none``, ``weak`` or ``strong``, with the given ``PolicyOptions`` instead of its own.

    Raises:
        ValueError: there is no such policy, or an option is out of range.
    """
    given = {option: value for option, value in locals().items() if option != "name" and value is not None}
    if name not in POLICIES:
        raise ValueError(f"policy: got {name!r}, expected one of {', '.join(POLICIES)}")
    for option, value in given.items():
        require_option(option, value)
    return Policy(name, replace(POLICIES[name], **given).operations())


def require_option(option: str, value: float) -> None:
    """Refuse a value that the option cannot have.

    Raises:
        ValueError: it is of another type, or out of range.
    """
    kind = type(getattr(POLICIES["none"], option))
    if isinstance(value, bool) != (kind is bool) or (kind is int and not isinstance(value, int)):
        raise ValueError(f"{option}: got {value!r}, expected {'true or false' if kind is bool else 'a whole number'}")
    if kind is not bool and not 0 <= value <= LARGEST[option]:
        raise ValueError(f"{option}: got {value!r}, expected 0 (off) to {LARGEST[option]}")
