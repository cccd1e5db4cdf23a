"""RandAugment: a few operations drawn from fourteen, all at one magnitude (Cubuk et al. 2020, arXiv:1909.13719)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from datamodules.augmentation import color
from datamodules.augmentation.geometry import affine, inverse_affine_matrices
from datamodules.augmentation.keys import fold_in, random_integers, split

NUM_BINS = 31

Operation = Callable[[Tensor, Tensor], Tensor]
"""Takes ``images (n, C, H, W)`` uint8 and signed amounts ``(n,)`` float64; returns ``(n, C, H, W)`` uint8."""


@dataclass(frozen=True)
class RandAugment:
    """Applies ``num_ops`` operations, drawn with equal chances for every image, as torchvision's ``RandAugment``.

    Attributes:
        num_ops: operations an image.
        magnitude: strength of all of them, one of the 31 steps from 0 to 30.
    """

    num_ops: int = 2
    magnitude: int = 9

    def __call__(self, images: Tensor, keys: Tensor) -> Tensor:
        """Return ``(N, C, H, W)`` uint8 of ``images (N, C, H, W)`` uint8, steered by ``keys (N,)``."""
        choices = random_integers(split(fold_in(keys, 0), self.num_ops), 0, len(OPERATIONS))
        signs = random_integers(split(fold_in(keys, 1), self.num_ops), 0, 2).mul_(-2).add_(1)
        return rand_augment(images, choices, signs, self.magnitude)


def rand_augment(images: Tensor, choices: Tensor, signs: Tensor, magnitude: int) -> Tensor:
    """Apply to each image the operations chosen for it.

    Args:
        images: ``(N, C, H, W)`` uint8.
        choices: ``(N, num_ops)`` int64 positions in ``OPERATIONS``.
        signs: ``(N, num_ops)`` 1 or -1, the direction of the operations that have one.
        magnitude: step from 0 to 30.

    Returns:
        ``(N, C, H, W)`` uint8.
    """
    # Images are sorted by their operations, and the host must know where the next one begins: it waits once.
    kinds = torch.arange(len(OPERATIONS), device=choices.device)
    sizes = (choices.unsqueeze(-1) == kinds).sum(dim=0).tolist()
    strengths = magnitudes(magnitude, *images.shape[-2:], images.device)
    for choice, sign, group_sizes in zip(choices.unbind(1), signs.unbind(1), sizes, strict=True):
        kind, order = choice.sort(stable=True)
        amounts = strengths[(sign.index_select(0, order) < 0).long(), kind]
        changed = apply_sorted(images.index_select(0, order), kind, amounts, group_sizes)
        images = changed.index_select(0, order.argsort())
    return images


def apply_sorted(images: Tensor, kinds: Tensor, amounts: Tensor, sizes: list[int]) -> Tensor:
    """Apply to ``images (N, C, H, W)`` uint8, sorted by their operations ``kinds (N,)``, those operations.

    The geometric ones are neighbours in ``OPERATIONS`` and go through one resampling.
    """
    bounds = dict(zip(OPERATIONS, pairwise(accumulate(sizes, initial=0)), strict=True))
    start, stop = bounds["ShearX"][0], bounds["Rotate"][1]
    results = [images[:start]]
    if start < stop:
        results.append(geometric(images[start:stop], kinds[start:stop], amounts[start:stop]))
    for name, operation in PHOTOMETRIC.items():
        start, stop = bounds[name]
        if start < stop:
            results.append(operation(images[start:stop], amounts[start:stop]))
    return torch.cat(results)


def geometric(images: Tensor, kinds: Tensor, amounts: Tensor) -> Tensor:
    """Shear about the upper left corner, shift by whole pixels or rotate about the centre, as ``kinds (n,)`` say."""
    shear_x, shear_y, shift_x, shift_y, angles = (
        amounts * (kinds == position) for position, name in enumerate(OPERATIONS) if name in GEOMETRIC
    )
    slopes = torch.stack([shear_x, shear_y], dim=1)
    corner = torch.tensor(images.shape[:1:-1], device=images.device) * -0.5
    matrices = inverse_affine_matrices(
        angles=-angles,
        translations=torch.stack([shift_x, shift_y], dim=1).trunc(),
        scales=torch.ones_like(amounts),
        shears=slopes.atan().rad2deg(),
        centers=(slopes != 0).any(dim=1, keepdim=True) * corner,
    )
    return affine(images, matrices)


GEOMETRIC = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")

PHOTOMETRIC: dict[str, Operation] = {
    "Brightness": lambda images, amounts: color.adjust_brightness(images, 1 + amounts),
    "Color": lambda images, amounts: color.adjust_saturation(images, 1 + amounts),
    "Contrast": lambda images, amounts: color.adjust_contrast(images, 1 + amounts),
    "Sharpness": lambda images, amounts: color.adjust_sharpness(images, 1 + amounts),
    "Posterize": lambda images, amounts: color.posterize(images, amounts.long()),
    "Solarize": color.solarize,
    "AutoContrast": lambda images, amounts: color.autocontrast(images),
    "Equalize": lambda images, amounts: color.equalize(images),
}

OPERATIONS = ("Identity", *GEOMETRIC, *PHOTOMETRIC)
"""The operations by torchvision's names, in its order."""


@lru_cache(maxsize=32)
def magnitudes(step: int, height: int, width: int, device: torch.device) -> Tensor:
    """Return ``(2, 14)`` float64 strengths of the operations at a step, first positive, then negative."""
    ends = {
        "ShearX": 0.3,
        "ShearY": 0.3,
        "TranslateX": 150 / 331 * width,
        "TranslateY": 150 / 331 * height,
        "Rotate": 30.0,
        "Brightness": 0.9,
        "Color": 0.9,
        "Contrast": 0.9,
        "Sharpness": 0.9,
    }
    # Each rounded to float32, as torchvision's tables are.
    signed = {name: float(torch.linspace(0.0, end, NUM_BINS)[step]) for name, end in ends.items()}
    unsigned = {
        "Posterize": 8.0 - round(step / ((NUM_BINS - 1) / 4)),
        "Solarize": float(torch.linspace(255.0, 0.0, NUM_BINS)[step]),
    }
    positive = [(signed | unsigned).get(name, 0.0) for name in OPERATIONS]
    negative = [-signed[name] if name in signed else unsigned.get(name, 0.0) for name in OPERATIONS]
    return torch.tensor([positive, negative], dtype=torch.float64, device=device)
