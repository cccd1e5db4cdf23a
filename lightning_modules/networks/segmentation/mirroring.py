"""Images continued beyond their edges."""

import torch
from torch import Tensor


def mirrored(images: Tensor, before: int, sides: tuple[int, int]) -> Tensor:
    """Return ``(N, C, *sides)``: ``images (N, C, H, W)`` mirrored at their edges, as often as it takes.

    Ronneberger et al. 2015, section 2. The edge itself is not repeated.

    Args:
        images: ``(N, C, H, W)``.
        before: pixels above and at the left of the images; what else is missing comes below and at the right.
        sides: height and width of the result.
    """
    if tuple(images.shape[-2:]) == sides:
        return images
    rows, columns = (
        reflected(side, before, wanted, images.device) for side, wanted in zip(images.shape[-2:], sides, strict=True)
    )
    return images.index_select(2, rows).index_select(3, columns)


def reflected(side: int, before: int, wanted: int, device: torch.device) -> Tensor:
    """Return the indices ``(wanted,)`` that continue a line of ``side`` pixels, ``before`` of them ahead of it."""
    period = max(1, 2 * (side - 1))
    indices = torch.arange(-before, wanted - before, device=device) % period
    return torch.minimum(indices, period - indices).clamp(max=side - 1)


def padded_side(side: int, stride: int) -> int:
    """Return the smallest multiple of ``stride`` that is ``side`` or more, two strides at least.

    So the coarsest map has several pixels, without which batch norm cannot train on a single image.
    """
    return max(next_multiple(side, stride), 2 * stride)


def next_multiple(side: int, divisor: int) -> int:
    """Return the smallest multiple of ``divisor`` that is ``side`` or more."""
    return -(-side // divisor) * divisor
