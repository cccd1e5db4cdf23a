"""Drawing scenes, hundreds at once: a crop of a photograph, then objects one over the other, each with its label."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from datamodules.augmentation.keys import fold_in, random_integers, sample_keys, uniform

SEED = 0
MAX_OBJECTS = 3
OBJECT_SIZES = (26 / 64, 41 / 64)
"""Range of an object's height and width, as a fraction of the scene's side."""

OPACITIES = (0.7, 1.0)
SHADING = 0.4
"""Share of an object's colour that follows its intensity, as light and shade do."""

EDGE = 0.1
"""Width of the soft edge of an object, in units of its intensity."""

MAX_ZOOM = 2.0
"""A background shows up to so many times the scene's side of a photograph, where that is large enough."""

MIN_SIDE, MAX_SIDE = 16, 160
"""The smallest at which digits can be told apart; the width of a photograph's part for tests."""

SCENES_AT_ONCE = 250


@dataclass(frozen=True)
class Material:
    """What scenes are made of.

    Attributes:
        objects: ``(M, 1, h, w)`` uint8 grey, zero where there is none of the object.
        labels: ``(M,)`` int64 classes, from 0.
        photographs: ``(3, H, W)`` uint8 each.
        coverage: least intensity in ``(0, 1)`` of a pixel that covers what is behind it.
    """

    objects: Tensor
    labels: Tensor
    photographs: list[Tensor]
    coverage: float


def draw_scenes(material: Material, numbers: Tensor, side: int, seed: int = SEED) -> tuple[Tensor, Tensor]:
    """Return scenes ``(N, 3, side, side)`` uint8 and their masks ``(N, side, side)`` uint8.

    Masks are 0 for the background and ``label + 1`` where an object is what one sees. Each scene follows from its
    number in ``numbers (N,)`` int64 and the seed alone.
    """
    keys = sample_keys(seed, torch.zeros_like(numbers), numbers)
    parts = [draw_some(material, part, side) for part in torch.split(keys, SCENES_AT_ONCE)]
    pixels, masks = (torch.cat(values) for values in zip(*parts, strict=True))
    return pixels, masks


def draw_some(material: Material, keys: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Return the scenes and masks of ``keys (n,)``."""
    scenes = backgrounds(material.photographs, fold_in(keys, 0), side)
    masks = torch.zeros(len(keys), side, side, dtype=torch.uint8)
    num_objects = random_integers(fold_in(keys, 1), 1, MAX_OBJECTS + 1)
    for place in range(MAX_OBJECTS):
        drawn = (num_objects > place).nonzero().squeeze(1)
        if len(drawn):
            drawing = fold_in(keys, 2 + place)[drawn], scenes[drawn], masks[drawn]
            scenes[drawn], masks[drawn] = add_object(material, *drawing)
    return scenes.round_().clamp_(0, 255).to(torch.uint8), masks


def backgrounds(photographs: list[Tensor], keys: Tensor, side: int) -> Tensor:
    """Return ``(n, 3, side, side)`` float32 crops of the photographs, some mirrored."""
    chosen = random_integers(fold_in(keys, 0), 0, len(photographs)).tolist()
    draws = torch.stack([uniform(fold_in(keys, position)) for position in range(1, 5)], dim=1).tolist()
    crops = torch.empty(len(keys), 3, side, side)
    for scene, (which, (zoom, across, down, mirror)) in enumerate(zip(chosen, draws, strict=True)):
        photograph = photographs[which]
        height, width = photograph.shape[1:]
        size = round(side + zoom * (min(MAX_ZOOM * side, height, width) - side))
        top, left = int(down * (height - size + 1)), int(across * (width - size + 1))
        crop = photograph[:, top : top + size, left : left + size].unsqueeze(0)
        resized = F.interpolate(crop, (side, side), mode="bilinear", antialias=True)[0]
        crops[scene] = resized.flip(2) if mirror < 0.5 else resized
    return crops


def add_object(material: Material, keys: Tensor, scenes: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``scenes (n, 3, S, S)`` float32 and ``masks (n, S, S)`` uint8 with one more object in front."""
    which = random_integers(fold_in(keys, 0), 0, len(material.objects))
    intensity = placed_well(material, which, fold_in(keys, 1), masks)
    opacity = uniform(fold_in(keys, 2), *OPACITIES).view(-1, 1, 1, 1)
    alpha = ((intensity - material.coverage) / EDGE + 0.5).clamp_(0, 1)
    shade = 1 - SHADING + SHADING * intensity
    color = contrasting_colors(fold_in(keys, 3), scenes, alpha)
    labels = (material.labels[which] + 1).to(torch.uint8).view(-1, 1, 1)
    covered = intensity.squeeze(1) >= material.coverage
    return torch.lerp(scenes, color * shade, alpha * opacity), torch.where(covered, labels, masks)


def placed_well(material: Material, which: Tensor, keys: Tensor, masks: Tensor) -> Tensor:
    """Return ``(n, 1, S, S)``, the objects ``which (n,)`` at that of two random places where each hides less."""
    objects = material.objects[which].float() / 255
    first, second = (placed(objects, fold_in(keys, place), masks.shape[-1]) for place in range(2))
    hidden = [((each.squeeze(1) >= material.coverage) & (masks > 0)).sum(dim=(1, 2)) for each in (first, second)]
    return torch.where((hidden[0] <= hidden[1]).view(-1, 1, 1, 1), first, second)


def placed(objects: Tensor, keys: Tensor, side: int) -> Tensor:
    """Return ``(n, 1, side, side)`` in ``[0, 1]``: ``objects (n, 1, h, w)`` enlarged smoothly and shifted."""
    size = uniform(fold_in(keys, 0), *OBJECT_SIZES)
    # In grid_sample's units a scene spans -1 to 1: an object's middle lies so that its square is within.
    x, y = (uniform(fold_in(keys, position), -1, 1) * (1 - size) for position in (2, 3))
    zero = torch.zeros_like(size)
    rows = [1 / size, zero, -x / size, zero, 1 / size, -y / size]
    grid = F.affine_grid(torch.stack(rows, dim=1).view(-1, 2, 3), [len(keys), 1, side, side], align_corners=False)
    return F.grid_sample(objects, grid, mode="bicubic", padding_mode="zeros", align_corners=False).clamp_(0, 1)


def contrasting_colors(keys: Tensor, scenes: Tensor, alpha: Tensor) -> Tensor:
    """Return ``(n, 3, 1, 1)`` colours in 0..255: of two random ones that which differs more from what it will hide."""
    weights = alpha / alpha.sum(dim=(2, 3), keepdim=True).clamp(min=1)
    behind = (scenes * weights).sum(dim=(2, 3))
    draws = [uniform(fold_in(keys, channel), 0, 255) for channel in range(6)]
    first, second = torch.stack(draws[:3], dim=1), torch.stack(draws[3:], dim=1)
    differs_more = (first - behind).norm(dim=1) >= (second - behind).norm(dim=1)
    return torch.where(differs_more.unsqueeze(1), first, second).view(-1, 3, 1, 1)
