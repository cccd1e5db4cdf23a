"""U-Net.

Ronneberger, Fischer and Brox 2015, "U-Net: convolutional networks for biomedical image segmentation".
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_modules.networks.residual_cifar import initialise_convolutions
from lightning_modules.networks.segmentation.fcn import CreateClassifier, resized
from lightning_modules.networks.segmentation.mirroring import mirrored, next_multiple, padded_side
from lightning_modules.networks.segmentation.tracing import Level, TracedClassifier, trace_classifier
from lightning_modules.networks.segmentation.upsampling import create_upsampling

PADDINGS = ("same", "valid")
LOST = 4
"""Pixels that two unpadded 3×3 convolutions take from a side."""


class UNet(nn.Module):
    """Stages of two 3×3 convolutions, halved by max pooling, then enlarged again and joined with the maps before.

    Each convolution has batch norm, which the paper's have not, and ReLU. The logits have the images' size: images are
    mirrored at their edges to the size that the network needs, with ``valid`` padding by all that the convolutions
    take, as in section 2 of the paper (92 pixels a side at depth 4: small images cost many times what ``same`` does).

    Args:
        num_classes: classes ``K``.
        num_channels: channels ``C`` of the images.
        width: channels of the first stage; each halving doubles them.
        depth: halvings.
        padding: ``same`` pads convolutions by zeros, ``valid`` does not.
        upsampling: how maps are enlarged, a key of ``UPSAMPLING``.
        upsampling_kernel: side of the kernel of ``transposed_conv``; default 2 (the paper's), which copies at first.
        drop_rate: dropout before the classifier.
        encoder: takes the place of the stages from ``levels`` on: returns their maps, the finest first.
        levels: of these maps.

    Raises:
        ValueError: an option is out of range.
    """

    def __init__(
        self,
        num_classes: int,
        num_channels: int,
        *,
        width: int = 64,
        depth: int = 4,
        padding: str = "same",
        upsampling: str = "transposed_conv",
        upsampling_kernel: int | None = None,
        drop_rate: float = 0.0,
        encoder: nn.Module | None = None,
        levels: Sequence[Level] = (),
    ) -> None:
        super().__init__()
        require_sizes(width=width, depth=depth)
        require_padding(padding, encoder)
        self.depth, self.padding, self.encoder = depth, padding, encoder
        num_own = levels[0].stride.bit_length() - 1 if levels else depth + 1
        own = [width * 2**number for number in range(num_own)]
        self.stages = nn.ModuleList(stage(*sizes, padding) for sizes in pairwise([num_channels, *own]))
        strides = [*(2**number for number in range(num_own)), *(level.stride for level in levels)]
        self.stride: int = strides[-1]
        widths = [width * 2**number for number in range(len(strides))]
        channels = [*own, *(level.channels for level in levels)]
        self.upsamplings, self.decoder = nn.ModuleList(), nn.ModuleList()
        num_inputs = channels[-1]
        for number in reversed(range(len(strides) - 1)):
            scale = strides[number + 1] // strides[number]
            enlarged = channels[number] if upsampling == "max_unpool" else widths[number]
            kernel = scale if upsampling == "transposed_conv" and upsampling_kernel is None else upsampling_kernel
            self.upsamplings.append(create_upsampling(upsampling, num_inputs, enlarged, scale, kernel))
            num_inputs = widths[number]
            self.decoder.append(stage(channels[number] + enlarged, num_inputs, padding))
        for layers in (self.stages, self.upsamplings, self.decoder):
            initialise_convolutions(layers)
        self.dropout = nn.Dropout(drop_rate)
        self.classifier = nn.Conv2d(num_inputs, num_classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(N, K, H, W)`` of normalised ``images (N, C, H, W)``."""
        height, width = images.shape[-2:]
        margin = self.margin()
        sides = (self.needed(height), self.needed(width))
        *maps, features = self.encode(mirrored(images, margin, sides))
        for upsampling, decoder, skip in zip(self.upsamplings, self.decoder, reversed(maps), strict=True):
            if self.padding == "valid":
                skip = centre(skip, features)
            features = resized(upsampling(features, skip), skip.shape[-2:])
            features = decoder(torch.cat((skip, features), dim=1))
        logits: Tensor = self.classifier(self.dropout(features))
        return logits[..., :height, :width]

    def encode(self, images: Tensor) -> list[Tensor]:
        """Return the maps of ``images (N, C, H, W)``, the finest first."""
        maps: list[Tensor] = []
        features = images
        for number, layers in enumerate(self.stages):
            features = layers(F.max_pool2d(features, 2) if number else features)
            maps.append(features)
        return maps if self.encoder is None else [*maps, *self.encoder(images)]

    def margin(self) -> int:
        """Return how many pixels the unpadded convolutions take from each edge: 92 at depth 4."""
        taken: int = LOST * (3 * 2**self.depth - 2)
        return taken // 2 if self.padding == "valid" else 0

    def needed(self, side: int) -> int:
        """Return the side, in pixels, of the images from which logits of at least ``side`` pixels come."""
        if self.padding == "same":
            return padded_side(side, self.stride)
        lost_by_decoder: int = LOST * (2**self.depth - 1)
        return next_multiple(side + lost_by_decoder, self.stride) - lost_by_decoder + 2 * self.margin()

    def get_classifier(self) -> nn.Module:
        """Return the layer that gives the logits."""
        return self.classifier


def stage(num_inputs: int, num_outputs: int, padding: str) -> nn.Sequential:
    """Return two 3×3 convolutions, each with batch norm and ReLU."""
    layers: list[nn.Module] = []
    for channels in (num_inputs, num_outputs):
        convolution = nn.Conv2d(channels, num_outputs, 3, padding=int(padding == "same"), bias=False)
        layers += [convolution, nn.BatchNorm2d(num_outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def centre(skip: Tensor, features: Tensor) -> Tensor:
    """Return the middle of ``skip (N, C, H', W')`` that lies over ``features (N, D, H, W)``: ``(N, C, 2H, 2W)``."""
    top, left = ((have - 2 * side) // 2 for have, side in zip(skip.shape[-2:], features.shape[-2:], strict=True))
    return skip[..., top : skip.shape[-2] - top, left : skip.shape[-1] - left]


def create_unet(
    num_classes: int,
    num_channels: int,
    *,
    pretrained: bool,
    create_classifier: CreateClassifier,
    encoder: str | None = None,
    width: int | None = None,
    depth: int | None = None,
    padding: str = "same",
    upsampling: str = "transposed_conv",
    upsampling_kernel: int | None = None,
    drop_rate: float = 0.0,
    **options: Any,
) -> nn.Module:
    """Build a U-Net, whole or on a classification network.

    Sizes finer than the encoder's first map, such as that of the images, have stages of the U-Net's own.

    Args:
        num_classes: classes ``K``.
        num_channels: channels ``C`` of the images.
        pretrained: take published weights of the encoder.
        create_classifier: builds the encoder.
        encoder: name in the registry of a classification network.
        width: channels of the first stage, which each halving doubles; default 64 (the paper's), 16 with an encoder.
        depth: halvings; default 4 (the paper's), with an encoder all that it has.
        padding: ``same``, or ``valid`` where there is no encoder.
        upsampling: how maps are enlarged, a key of ``UPSAMPLING``.
        upsampling_kernel: side of the kernel of ``transposed_conv``; default 2 (the paper's), which copies at first.
        drop_rate: dropout before the classifier.
        options: of the encoder, ``drop_path_rate`` among them.

    Raises:
        ValueError: the encoder has no maps of several sizes, or an option is out of range or not there.
        TypeError: an option that only an encoder would take, without one.
    """
    own: dict[str, Any] = {"padding": padding, "upsampling": upsampling, "upsampling_kernel": upsampling_kernel}
    own["drop_rate"] = drop_rate
    if encoder is None:
        if pretrained:
            raise ValueError("pretrained: got True for 'unet', expected False; give an encoder that has weights")
        sizes = {"width": width, "depth": depth}
        given: dict[str, Any] = {option: value for option, value in sizes.items() if value is not None}
        return UNet(num_classes, num_channels, **own, **given, **options)
    require_sizes(width=16 if width is None else width, depth=1 if depth is None else depth)
    body, published = create_classifier(encoder, 1, num_channels, pretrained, options)
    traced = trace_classifier(body)
    levels = levels_of(traced, encoder, depth)
    maps = traced.with_outputs([level.node for level in levels])
    own |= {"width": width or 16, "encoder": maps, "levels": levels}
    network = UNet(num_classes, num_channels, **own)
    network.published = published  # type: ignore[assignment]
    return network


def levels_of(traced: TracedClassifier, encoder: str, depth: int | None) -> tuple[Level, ...]:
    """Return an encoder's levels down to ``depth`` halvings.

    Raises:
        ValueError: nothing is halved, or ``depth`` is less than the first map has been halved or more than the last.
    """
    deepest = traced.levels[-1].stride.bit_length() - 1 if traced.levels else 0
    if not deepest:
        raise ValueError(
            f"encoder: got {encoder!r}, expected a network that halves its maps at least once; use one such as resnet18"
        )
    first = max(1, traced.levels[0].stride.bit_length() - 1)
    if depth is not None and not first <= depth <= deepest:
        raise ValueError(
            f"depth: got {depth} for encoder {encoder!r}, expected {first} to {deepest}, the halvings of its maps"
        )
    return tuple(level for level in traced.levels if depth is None or level.stride <= 2**depth)


def require_sizes(**sizes: int) -> None:
    """Raise a ``ValueError`` unless all are whole numbers of 1 or more."""
    for option, value in sizes.items():
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{option}: got {value!r}, expected a whole number of at least 1")


def require_padding(padding: str, encoder: nn.Module | None) -> None:
    """Raise a ``ValueError`` unless there is such a padding, and the encoder, which has its own, allows it."""
    if padding not in PADDINGS:
        raise ValueError(f"padding: got {padding!r}, expected one of {', '.join(PADDINGS)}")
    if padding == "valid" and encoder is not None:
        raise ValueError("padding: got 'valid' with an encoder, expected 'same': the encoder pads its convolutions")
