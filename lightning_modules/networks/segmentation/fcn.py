"""Fully convolutional networks.

Long, Shelhamer and Darrell 2015, "Fully convolutional networks for semantic segmentation".
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_modules.networks.layers import find_head
from lightning_modules.networks.published import Published
from lightning_modules.networks.segmentation.convolutional import make_head_convolutional
from lightning_modules.networks.segmentation.mirroring import mirrored, padded_side
from lightning_modules.networks.segmentation.tracing import Level, trace_classifier
from lightning_modules.networks.segmentation.upsampling import SPARSE, create_upsampling, require_upsampling

CreateClassifier = Callable[[str, int, int, bool, dict[str, Any]], tuple[nn.Module, Published]]
"""``(name, num_classes, num_channels, pretrained, options)`` to a classification network and what it was trained on."""


class FullyConvolutional(nn.Module):
    """Scores of the last map, enlarged and added to scores of finer maps, then interpolated to the images' size.

    As in section 4.3 the scores of finer maps start at zero, the enlargement between two maps starts as bilinear
    interpolation and is learned, and the last one stays bilinear interpolation. Images are mirrored to a multiple of
    the largest stride, where the paper pads them by 100 pixels of zeros.

    Args:
        encoder: returns maps from the finest to the coarsest, then the scores ``(N, K, H', W')`` of the last one.
        levels: of the maps and of the scores, which come last.
        head: the name in the encoder of the layer that gives the scores.
        num_classes: classes ``K``.
        upsampling: name of the enlargement between two maps.
        upsampling_kernel: side of the kernel of ``transposed_conv``.
    """

    def __init__(
        self,
        encoder: nn.Module,
        levels: Sequence[Level],
        head: str,
        num_classes: int,
        *,
        upsampling: str,
        upsampling_kernel: int | None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head
        self.stride = levels[-1].stride
        self.scores = nn.ModuleList(nn.Conv2d(level.channels, num_classes, 1) for level in levels[:-1])
        for convolution in self.scores:
            for parameter in convolution.parameters():
                nn.init.zeros_(parameter)
        scales = [coarser.stride // finer.stride for finer, coarser in pairwise(levels)]
        self.upsamplings = nn.ModuleList(
            create_upsampling(upsampling, num_classes, num_classes, scale, upsampling_kernel) for scale in scales
        )
        self.fillings = nn.ModuleList(
            interpolating(num_classes, scale) if upsampling in SPARSE else nn.Identity() for scale in scales
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(N, K, H, W)`` of normalised ``images (N, C, H, W)``."""
        height, width = images.shape[-2:]
        sides = (padded_side(height, self.stride), padded_side(width, self.stride))
        *maps, scores = self.encoder(mirrored(images, 0, sides))
        layers = zip(maps, self.scores, self.upsamplings, self.fillings, strict=True)
        for features, score, upsampling, filling in reversed(list(layers)):
            finer = score(features)
            enlarged = filling(upsampling(scores, finer))
            scores = resized(enlarged, finer.shape[-2:]) + finer
        return resized(scores, sides)[..., :height, :width]

    def get_classifier(self) -> list[nn.Module]:
        """Return the layers that give scores."""
        return [*self.scores, self.encoder.get_submodule(self.head)]


def resized(scores: Tensor, size: Sequence[int]) -> Tensor:
    """Return bilinearly interpolated ``(N, K, *size)``; strides that are no powers of two need it within a network."""
    if tuple(scores.shape[-2:]) == tuple(size):
        return scores
    return F.interpolate(scores, tuple(size), mode="bilinear")


def interpolating(num_classes: int, scale: int) -> nn.Conv2d:
    """Return a convolution that starts by interpolating each class bilinearly between values ``scale`` apart."""
    convolution = nn.Conv2d(num_classes, num_classes, 2 * scale - 1, padding=scale - 1)
    taps = 1 - (torch.arange(2 * scale - 1) - (scale - 1)).abs() / scale
    with torch.no_grad():
        convolution.weight.copy_(torch.eye(num_classes)[:, :, None, None] * torch.outer(taps, taps))
    nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
    return convolution


def create_fcn(
    num_skips: int,
    /,
    num_classes: int,
    num_channels: int,
    *,
    pretrained: bool,
    create_classifier: CreateClassifier,
    encoder: str = "resnet18",
    upsampling: str | None = None,
    upsampling_kernel: int | None = None,
    **options: Any,
) -> nn.Module:
    """Build a fully convolutional network on a classification network.

    Its maps are the last of each size; the paper takes the outputs of VGG's poolings, the first of these sizes.

    Args:
        num_skips: maps, from the coarsest but one, whose scores are added: 0 for FCN-32s, 1 for -16s, 2 for -8s. The
            names are right for networks of stride 32; a network of stride 8 gives 8, 4 and 2.
        num_classes: classes ``K``.
        num_channels: channels ``C`` of the images.
        pretrained: take published weights of the classification network, its last layer apart.
        create_classifier: builds the classification network.
        encoder: its name in the registry.
        upsampling: how scores are enlarged between two maps, a key of ``UPSAMPLING``; default ``transposed_conv``.
        upsampling_kernel: side of the kernel of ``transposed_conv``; default twice the stride.
        options: of the classification network, ``drop_rate`` and ``drop_path_rate`` among them.

    Raises:
        ValueError: the encoder has too few maps or cannot be turned convolutional, or an upsampling that is not there.
    """
    require_between_maps(num_skips, upsampling=upsampling, upsampling_kernel=upsampling_kernel)
    body, published = create_classifier(encoder, num_classes, num_channels, pretrained, options)
    head = find_head(body, num_classes)
    traced = trace_classifier(body)
    if len(traced.levels) <= num_skips:
        strides = ", ".join(str(level.stride) for level in traced.levels) or "none"
        raise ValueError(
            f"encoder: got {encoder!r}, which has maps of stride {strides}, expected {num_skips + 1} or more of them; "
            "use an encoder such as resnet18, or fcn32s, which adds no scores of finer maps"
        )
    levels = traced.levels[len(traced.levels) - num_skips - 1 :]
    logits = make_head_convolutional(traced, keep_size=True)
    network = FullyConvolutional(
        traced.with_outputs([*(level.node for level in levels[:-1]), logits]),
        levels,
        head,
        num_classes,
        upsampling=upsampling or "transposed_conv",
        upsampling_kernel=upsampling_kernel,
    )
    network.published = published  # type: ignore[assignment]
    return network


def require_between_maps(num_skips: int, *, upsampling: str | None, upsampling_kernel: int | None) -> None:
    """Raise a ``ValueError`` where an upsampling is not there, or no two maps are to be enlarged by it."""
    if upsampling is not None:
        require_upsampling(upsampling)
    for option, value in (("upsampling", upsampling), ("upsampling_kernel", upsampling_kernel)):
        if value is not None and num_skips == 0:
            raise ValueError(
                f"{option}: got {value!r} for 'fcn32s', which only interpolates bilinearly; leave it out, or use fcn8s"
            )
