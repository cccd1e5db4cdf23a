"""Layers that enlarge maps, by name.

Dumoulin and Visin 2016, "A guide to convolution arithmetic for deep learning", section 4; Odena, Dumoulin and Olah
2016, "Deconvolution and checkerboard artifacts".
"""

import difflib
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SPARSE = ("bed_of_nails", "max_unpool")
"""Those that leave zeros between the values."""


class TransposedConvolution(nn.ConvTranspose2d):
    """A transposed convolution that starts as bilinear interpolation.

    With as many outputs as inputs each channel is interpolated by itself (Long et al. 2015, section 4.3); else
    the interpolated channels are mixed by random weights (He et al. 2015). Beyond the map it takes zeros.

    Args:
        channels: channels that come in.
        out_channels: channels that go out.
        scale: the stride.
        kernel_size: side of the kernel, a multiple of ``scale``; default twice the scale.

    Raises:
        ValueError: the stride does not divide the kernel: pixels would get different numbers of terms, which shows as
            a checkerboard (Odena et al. 2016).
    """

    def __init__(self, channels: int, out_channels: int, scale: int = 2, kernel_size: int | None = None) -> None:
        side = 2 * scale if kernel_size is None else kernel_size
        if side < 1 or side % scale:
            raise ValueError(
                f"upsampling_kernel: got {side} with a stride of {scale}, expected a multiple of the stride: another "
                f"kernel overlaps unevenly and leaves a checkerboard; use {2 * scale}"
            )
        surplus = side - scale
        super().__init__(channels, out_channels, side, scale, math.ceil(surplus / 2), output_padding=surplus % 2)
        mixing = torch.eye(channels) if channels == out_channels else torch.empty(channels, out_channels)
        if channels != out_channels:
            nn.init.kaiming_normal_(mixing, mode="fan_out", nonlinearity="relu")  # rows are the inputs here
        with torch.no_grad():
            self.weight.copy_(mixing[:, :, None, None] * bilinear_kernel(side, scale))
        nn.init.zeros_(self.bias)  # type: ignore[arg-type]

    def forward(self, features: Tensor, finer: Tensor | None = None) -> Tensor:  # type: ignore[override]
        """Return ``(N, out_channels, scale H, scale W)`` of ``features (N, channels, H, W)``."""
        return super().forward(features)


class ResizedConvolution(nn.Module):
    """Interpolation, then a 3×3 convolution (Odena et al. 2016).

    Args:
        channels: channels that come in.
        out_channels: channels that go out.
        scale: by which the side grows.
        mode: ``nearest`` or ``bilinear``.
    """

    def __init__(self, channels: int, out_channels: int, scale: int, *, mode: str) -> None:
        super().__init__()
        self.resize = nn.Upsample(scale_factor=scale, mode=mode)
        self.convolution = nn.Conv2d(channels, out_channels, 3, padding=1)

    def forward(self, features: Tensor, finer: Tensor | None = None) -> Tensor:
        """Return ``(N, out_channels, scale H, scale W)`` of ``features (N, channels, H, W)``."""
        enlarged: Tensor = self.convolution(self.resize(features))
        return enlarged


class Unpooling(nn.Module):
    """Each value goes into its own block of ``scale`` × ``scale`` pixels, without weights.

    Where the number of channels changes, a 1×1 convolution comes first.

    Args:
        channels: channels that come in.
        out_channels: channels that go out.
        scale: by which the side grows.
        unpool: ``(features, scale, finer)`` to the enlarged map.
    """

    def __init__(
        self,
        channels: int,
        out_channels: int,
        scale: int,
        *,
        unpool: Callable[[Tensor, int, Tensor | None], Tensor],
    ) -> None:
        super().__init__()
        self.mix = nn.Identity() if channels == out_channels else nn.Conv2d(channels, out_channels, 1)
        self.scale = scale
        self.unpool = unpool

    def forward(self, features: Tensor, finer: Tensor | None = None) -> Tensor:
        """Return ``(N, out_channels, scale H, scale W)`` of ``features (N, channels, H, W)``.

        ``max_unpool`` needs ``finer (N, out_channels, scale H, scale W)``, of which it takes the positions.
        """
        return self.unpool(self.mix(features), self.scale, finer)


def nearest_unpool(features: Tensor, scale: int, finer: Tensor | None = None) -> Tensor:
    """Return a map ``(N, C, scale H, scale W)`` that has each value in all of its block."""
    return F.interpolate(features, scale_factor=scale, mode="nearest")


def bed_of_nails(features: Tensor, scale: int, finer: Tensor | None = None) -> Tensor:
    """Return a map ``(N, C, scale H, scale W)`` that has each value in its block's first pixel, zeros beside it."""
    count, channels, height, width = features.shape
    nails = F.pad(features[..., None, :, None], (0, scale - 1, 0, 0, 0, scale - 1))
    return nails.reshape(count, channels, scale * height, scale * width)


def max_unpool(features: Tensor, scale: int, finer: Tensor | None = None) -> Tensor:
    """Return a map like ``finer`` that has each value where max pooling found its block's largest, zeros beside it.

    Badrinarayanan, Kendall and Cipolla 2017, "SegNet", section 3. Where two are the largest, the first one counts.

    Args:
        features: ``(N, C, H, W)``.
        scale: sides of ``finer`` are about so many times those of ``features``.
        finer: ``(N, C, scale H, scale W)``, whose max pooling is undone.
    """
    assert finer is not None, "max unpooling takes its positions from a finer map"
    with torch.no_grad():
        _, positions = F.adaptive_max_pool2d(finer, features.shape[-2:], return_indices=True)
    empty = features.new_zeros(*features.shape[:2], finer.shape[-2] * finer.shape[-1])
    return empty.scatter(2, positions.flatten(2), features.flatten(2)).view(*features.shape[:2], *finer.shape[-2:])


def bilinear_kernel(side: int, scale: int) -> Tensor:
    """Return the kernel ``(side, side)`` of a transposed convolution that interpolates.

    Along each axis it is a triangle as wide as the kernel; the terms that meet in a pixel sum to 1.
    """
    taps = 1 - (torch.arange(side) - (side - 1) / 2).abs() / (side / 2)
    taps = taps / taps.view(-1, scale).sum(dim=0).repeat(side // scale)
    return torch.outer(taps, taps)


UPSAMPLING: dict[str, Callable[[int, int, int], nn.Module]] = {
    "transposed_conv": TransposedConvolution,
    "nearest_conv": lambda *sizes: ResizedConvolution(*sizes, mode="nearest"),
    "bilinear_conv": lambda *sizes: ResizedConvolution(*sizes, mode="bilinear"),
    "nearest_unpool": lambda *sizes: Unpooling(*sizes, unpool=nearest_unpool),
    "bed_of_nails": lambda *sizes: Unpooling(*sizes, unpool=bed_of_nails),
    "max_unpool": lambda *sizes: Unpooling(*sizes, unpool=max_unpool),
}


def create_upsampling(
    name: str, channels: int, out_channels: int, scale: int = 2, kernel_size: int | None = None
) -> nn.Module:
    """Return a layer that is called with a map ``(N, channels, H, W)`` and, for ``max_unpool``, the finer one.

    Args:
        name: a key of ``UPSAMPLING``.
        channels: channels that come in.
        out_channels: channels that go out.
        scale: by which the side grows, 2 or more.
        kernel_size: side of the kernel of ``transposed_conv``; default twice the scale.

    Raises:
        ValueError: there is no such layer, it has no kernel, or its stride does not divide its kernel.
    """
    require_upsampling(name)
    if scale < 2:
        raise ValueError(f"scale: got {scale}, expected 2 or more; a map that keeps its size needs no upsampling")
    if kernel_size is None:
        return UPSAMPLING[name](channels, out_channels, scale)
    if name != "transposed_conv":
        raise ValueError(
            f"upsampling_kernel: got {kernel_size} for {name!r}, expected it only for 'transposed_conv'; leave it out"
        )
    return TransposedConvolution(channels, out_channels, scale, kernel_size)


def require_upsampling(name: str) -> None:
    """Raise a ``ValueError`` that offers the nearest names unless there is an upsampling of that name."""
    if name not in UPSAMPLING:
        nearest = difflib.get_close_matches(str(name), UPSAMPLING, n=1)
        hint = f"; did you mean {nearest[0]}?" if nearest else ""
        raise ValueError(f"upsampling: got {name!r}, expected one of {', '.join(UPSAMPLING)}{hint}")
