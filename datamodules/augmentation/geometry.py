"""Affine maps of whole batches: rotation, translation, scale and shear, a matrix a sample, zeros moving in."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from datamodules.augmentation.keys import split, uniform


@dataclass(frozen=True)
class RandomAffine:
    """Rotates, shifts, scales and shears by uniform amounts, as torchvision's ``RandomAffine``.

    Attributes:
        degrees: the rotation is in ``[-degrees, degrees]``.
        translate: largest horizontal and vertical shift, as a fraction of the image's size.
        scale: range of the scale.
        shear: the horizontal shear is in ``[-shear, shear]`` degrees.
        interpolation: ``nearest`` or ``bilinear``.
    """

    degrees: float = 0.0
    translate: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    shear: float = 0.0
    interpolation: str = "nearest"

    def __call__(self, images: Tensor, keys: Tensor) -> Tensor:
        """Return ``(N, C, H, W)`` uint8 of ``images (N, C, H, W)`` uint8, steered by ``keys (N,)``."""
        size = torch.tensor(images.shape[:1:-1], device=images.device)
        numbers = split(keys, 5)
        shifts = uniform(numbers[:, :2], -self.translate, self.translate) * size
        matrices = inverse_affine_matrices(
            angles=uniform(numbers[:, 2], -self.degrees, self.degrees),
            translations=shifts.round(),
            scales=uniform(numbers[:, 3], *self.scale),
            shears=F.pad(uniform(numbers[:, 4:], -self.shear, self.shear), (0, 1)),
        )
        return affine(images, matrices, self.interpolation)


def rotate(images: Tensor, angles: Tensor, interpolation: str = "nearest") -> Tensor:
    """Rotate ``images (N, C, H, W)`` uint8 by ``angles (N,)`` degrees, counter-clockwise."""
    angles = angles.double()
    still = torch.zeros_like(angles).unsqueeze(1).expand(-1, 2)
    matrices = inverse_affine_matrices(-angles, still, torch.ones_like(angles), still)
    return affine(images, matrices, interpolation)


def inverse_affine_matrices(
    angles: Tensor, translations: Tensor, scales: Tensor, shears: Tensor, centers: Tensor | None = None
) -> Tensor:
    """Return the maps from output to input pixels of ``T · C · R(angle) · S(scale) · Shear · C⁻¹``.

    Args:
        angles: ``(N,)`` degrees, clockwise.
        translations: ``(N, 2)`` pixels along x and y.
        scales: ``(N,)`` positive.
        shears: ``(N, 2)`` degrees along x and y.
        centers: ``(N, 2)`` x and y of the fixed points, in pixels from the image's centre, which is the default.

    Returns:
        ``(N, 2, 3)`` float64 in pixels from the image's centre, as torchvision's ``affine`` has them.
    """
    rotation, (shear_x, shear_y) = angles.double().deg2rad(), shears.double().deg2rad().unbind(-1)
    a = (rotation - shear_y).cos() / shear_y.cos()
    b = -(a * shear_x.tan() + rotation.sin())
    c = (rotation - shear_y).sin() / shear_y.cos()
    d = rotation.cos() - c * shear_x.tan()
    linear = torch.stack([d, -b, -c, a], dim=-1).view(-1, 2, 2) / scales.double().view(-1, 1, 1)
    fixed = torch.zeros_like(translations) if centers is None else centers
    moved = (fixed + translations).double()
    offset = fixed - linear[..., 0] * moved[:, :1] - linear[..., 1] * moved[:, 1:]
    return torch.cat([linear, offset.unsqueeze(-1)], dim=-1)


def affine(images: Tensor, matrices: Tensor, interpolation: str = "nearest") -> Tensor:
    """Resample the images through a map each, zeros beyond their borders.

    Args:
        images: ``(N, C, H, W)`` uint8.
        matrices: ``(N, 2, 3)`` from output to input pixels, both counted from the image's centre.
        interpolation: ``nearest`` or ``bilinear``.

    Returns:
        ``(N, C, H, W)`` uint8.
    """
    height, width = images.shape[-2:]
    half_size = torch.tensor([[0.5 * width], [0.5 * height]], device=images.device)
    normalized = matrices.float() / half_size
    grid = torch.stack([map_pixels(row, height, width) for row in normalized.unbind(1)], dim=1).permute(0, 2, 3, 1)
    sampled = F.grid_sample(images.float(), grid, interpolation, padding_mode="zeros", align_corners=False)
    return sampled.round_().to(torch.uint8)


def map_pixels(rows: Tensor, height: int, width: int) -> Tensor:
    """Return ``(N, H, W)`` float32 ``a x + b y + c`` at every pixel for ``rows (N, 3)`` of ``a, b, c``.

    A pixel halfway between two others falls to the side to which this sum is rounded. It is rounded as by fused
    multiply-adds in the order ``x, y, 1``, which is what the matrix product of torchvision does on most processors.
    A matrix product itself would depend on the device, and on its reduced-precision modes.
    """
    a, b, c = rows.view(-1, 3, 1, 1).unbind(1)
    across = (a * centered(width, rows.device)).double()
    down = b.double() * centered(height, rows.device).unsqueeze(1)
    return (across + down).float().add_(c)


def centered(size: int, device: torch.device) -> Tensor:
    """Return ``(size,)`` positions of the pixels, counted from their middle."""
    return torch.linspace((1.0 - size) * 0.5, (size - 1.0) * 0.5, size, device=device)
