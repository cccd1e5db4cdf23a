"""Convolutions of maps of a few pixels, which processors compute faster as one product of matrices.

Networks made for 224 pixels have such maps when images are small: 32 pixels end in a map of one. There oneDNN 3.12
reads all weights again for every image: 256 images, 512 channels, one pixel took 57 ms in bfloat16 on one core of a
Xeon with tiles, the product of matrices 4 ms.
"""

import torch.nn.functional as F
from torch import Tensor, nn

LARGEST_MAP = 4
"""Pixels of the input up to which the product was faster or as fast; at 16 the convolution was."""


class SmallMapConv2d(nn.Conv2d):
    """A convolution that multiplies the patches of small maps by its weights."""

    def forward(self, input: Tensor) -> Tensor:
        """Return ``(N, K, H', W')`` of ``input (N, C, H, W)``, channels-last where the map is small."""
        height, width = input.shape[-2:]
        if not is_small(input):
            return super().forward(input)
        rows, columns = (int(pad) for pad in self.padding)
        weight = self.weight.permute(0, 2, 3, 1)
        if self._has_one_patch(height, width):
            patches = input.permute(0, 2, 3, 1).flatten(1)[:, None, None]
            weight = weight[:, rows : rows + height, columns : columns + width]  # the others only meet padding
        else:
            maps = F.pad(input, (columns, columns, rows, rows)).permute(0, 2, 3, 1)
            windows = maps.unfold(1, self.kernel_size[0], self.stride[0]).unfold(2, self.kernel_size[1], self.stride[1])
            patches = windows.permute(0, 1, 2, 4, 5, 3).flatten(3)
        return F.linear(patches, weight.flatten(1), self.bias).permute(0, 3, 1, 2)

    def _has_one_patch(self, height: int, width: int) -> bool:
        """Return whether the kernel fits the map only once, and then covers all of it."""
        padding = (int(pad) for pad in self.padding)
        sides = zip((height, width), self.kernel_size, padding, self.stride, strict=True)
        return all(
            0 <= side + 2 * pad - kernel < stride and pad + side <= kernel for side, kernel, pad, stride in sides
        )


def is_small(maps: Tensor) -> bool:
    """Return whether maps ``(N, C, H, W)`` are so small that the product is as fast."""
    return maps.shape[-2] * maps.shape[-1] <= LARGEST_MAP


def speed_up_small_maps(network: nn.Module) -> None:
    """Make plain convolutions larger than 1×1 choose their way by the size of the map, in place."""
    for module in network.modules():
        if type(module) is nn.Conv2d and takes_patches(module):
            module.__class__ = SmallMapConv2d  # keeps names, weights and attributes that other code may read


def takes_patches(convolution: nn.Conv2d) -> bool:
    """Return whether a convolution is the product of its weights and undivided patches, padded by zeros."""
    return (
        convolution.kernel_size != (1, 1)
        and convolution.groups == 1
        and convolution.dilation == (1, 1)
        and convolution.padding_mode == "zeros"
        and not isinstance(convolution.padding, str)
    )
