"""MixUp and CutMix: two samples become two mixtures of them, labels and all.

Samples 2i and 2i + 1 of a batch are partners, so that the pairs are the same when the batch is split into even slices
over processes; of an odd number the last one stays alone.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from scipy.special import betaincinv  # type: ignore[import-untyped]
from torch import Tensor

from datamodules.augmentation.erasing import inside_boxes
from datamodules.augmentation.keys import fold_in, random_integers, uniform

NUM_QUANTILES = 4096


@dataclass(frozen=True)
class MixUp:
    """Blends partners (Zhang et al. 2018, arXiv:1710.09412): ``λ x + (1 − λ) x'`` with ``λ ~ Beta(alpha, alpha)``.

    Attributes:
        num_classes: ``K``.
        alpha: positive; the smaller, the less is mixed.
    """

    num_classes: int
    alpha: float = 1.0

    def __call__(self, images: Tensor, targets: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mixtures ``(N, C, H, W)`` and their soft targets ``(N, K)``.

        Args:
            images: ``(N, C, H, W)`` float.
            targets: ``(N,)`` int64, of which -1 gives no probability to any class, or ``(N, K)`` probabilities.
            keys: ``(N,)``; those of the even samples steer the pairs.
        """
        shares = beta_quantiles(uniform(of_pairs(keys)), self.alpha)
        return mix_up(images, shares), mix_targets(soft_targets(targets, self.num_classes), shares)


@dataclass(frozen=True)
class CutMix:
    """Puts a rectangle of each partner into the other (Yun et al. 2019, arXiv:1905.04899).

    The rectangle covers ``1 − λ`` of the image where it does not reach over the border, ``λ ~ Beta(alpha, alpha)``.

    Attributes:
        num_classes: ``K``.
        alpha: positive; 1 makes all areas equally likely.
    """

    num_classes: int
    alpha: float = 1.0

    def __call__(self, images: Tensor, targets: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mixtures ``(N, C, H, W)`` and their soft targets ``(N, K)``; arguments as ``MixUp``'s."""
        height, width = images.shape[-2:]
        boxes = mixing_boxes(of_pairs(keys), height, width, self.alpha)
        shares = 1 - (boxes[:, 2] * boxes[:, 3]).float() / (height * width)
        return cut_mix(images, boxes), mix_targets(soft_targets(targets, self.num_classes), shares)


def mix_up(images: Tensor, shares: Tensor) -> Tensor:
    """Return ``shares · images + (1 − shares) · partners`` for ``images (N, C, H, W)`` and ``shares (N,)``."""
    return torch.lerp(partners(images), images, shares.to(images.dtype).view(-1, 1, 1, 1))


def cut_mix(images: Tensor, boxes: Tensor) -> Tensor:
    """Return ``images (N, C, H, W)`` with ``boxes (N, 4)``, top, left, height, width, taken from their partners."""
    return torch.where(inside_boxes(boxes, *images.shape[-2:]), partners(images), images)


def mix_targets(targets: Tensor, shares: Tensor) -> Tensor:
    """Return ``shares (N,)`` of ``targets (N, K)`` and the rest of their partners'."""
    return torch.lerp(partners(targets), targets, shares.unsqueeze(1))


def mixing_boxes(keys: Tensor, height: int, width: int, alpha: float) -> Tensor:
    """Return ``(N, 4)`` int64 rectangles, top, left, height, width, about uniform centres and cut at the borders."""
    shares = beta_quantiles(uniform(fold_in(keys, 0)), alpha)
    half = 0.5 * (1 - shares).sqrt()
    half_height, half_width = (half * height).long(), (half * width).long()
    y, x = random_integers(fold_in(keys, 1), 0, height), random_integers(fold_in(keys, 2), 0, width)
    top, left = (y - half_height).clamp(min=0), (x - half_width).clamp(min=0)
    bottom, right = (y + half_height).clamp(max=height), (x + half_width).clamp(max=width)
    return torch.stack([top, left, bottom - top, right - left], dim=1)


def partners(values: Tensor) -> Tensor:
    """Return ``values (N, ...)`` with samples 2i and 2i + 1 exchanged."""
    even = len(values) // 2 * 2
    swapped = values[:even].view(even // 2, 2, *values.shape[1:]).flip(1).flatten(0, 1)
    return torch.cat([swapped, values[even:]])


def of_pairs(keys: Tensor) -> Tensor:
    """Return ``keys (N,)`` of the even samples, each for both of its pair."""
    return keys[::2].repeat_interleave(2)[: len(keys)]


def soft_targets(targets: Tensor, num_classes: int) -> Tensor:
    """Return ``(N, K)`` float32 probabilities of ``targets (N,)`` int64 or ``(N, K)`` probabilities."""
    if targets.ndim == 2:
        return targets.float()
    return (targets.unsqueeze(1) == torch.arange(num_classes, device=targets.device)).float()


def beta_quantiles(probabilities: Tensor, alpha: float) -> Tensor:
    """Return float32 numbers distributed as ``Beta(alpha, alpha)`` for uniform ``probabilities`` in ``[0, 1)``."""
    table = beta_table(alpha, probabilities.device)
    position = probabilities * NUM_QUANTILES
    below = position.long().clamp_(max=NUM_QUANTILES - 1)
    return torch.lerp(table[below], table[below + 1], position - below)


@lru_cache(maxsize=32)
def beta_table(alpha: float, device: torch.device) -> Tensor:
    """Return ``(NUM_QUANTILES + 1,)`` float32 evenly spaced quantiles of ``Beta(alpha, alpha)``."""
    probabilities = torch.linspace(0, 1, NUM_QUANTILES + 1, dtype=torch.float64)
    return torch.from_numpy(betaincinv(alpha, alpha, probabilities.numpy())).float().to(device)
