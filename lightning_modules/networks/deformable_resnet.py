"""Residual networks whose last stages sample where they like."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.ops import DeformConv2d, deform_conv2d

import lightning_modules.networks.timm_networks as timm_networks
from lightning_modules.networks.published import Published

PREFIX = "deformable_"


class DeformableConvolution(nn.Module):
    """A convolution that predicts, for every output pixel, an offset for each point that its kernel reads.

    Offsets (and, modulated, a weight ``2 sigmoid(m)`` for each point) come from a convolution that starts at zero, so
    that at first the outputs are those of the convolution it replaces. A state dictionary of that one loads too.

    Dai et al. 2017, "Deformable convolutional networks", section 2.1; modulation: Zhu et al. 2019, "Deformable
    ConvNets v2", section 3.2, whose ``sigmoid(m)`` starts at one half instead.

    Args:
        convolution: what is replaced; its weights are taken over as they are. One group only.
        modulated: weight the points too.
    """

    def __init__(self, convolution: nn.Conv2d, modulated: bool) -> None:
        super().__init__()
        assert convolution.groups == 1, "a grouped convolution would need its channels' offsets told apart"
        names = ("in_channels", "kernel_size", "stride", "padding", "dilation")
        geometry = {name: getattr(convolution, name) for name in names}
        num_points = convolution.kernel_size[0] * convolution.kernel_size[1]
        self.num_offsets = 2 * num_points
        self.predictor = nn.Conv2d(out_channels=num_points * (3 if modulated else 2), **geometry)
        for parameter in self.predictor.parameters():
            nn.init.zeros_(parameter)
        self.convolution = DeformConv2d(
            out_channels=convolution.out_channels, bias=convolution.bias is not None, **geometry
        )
        self.convolution.weight, self.convolution.bias = convolution.weight, convolution.bias

    def take_plain_weights(self, weights: dict[str, Any], prefix: str) -> None:
        """Rename, in place, what is of a plain convolution called ``prefix``; offsets then start at zero again."""
        for name in ("weight", "bias"):
            if f"{prefix}{name}" in weights:
                weights[f"{prefix}convolution.{name}"] = weights.pop(f"{prefix}{name}")
                for key, parameter in self.predictor.named_parameters():
                    weights.setdefault(f"{prefix}predictor.{key}", torch.zeros_like(parameter))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Let ``load_state_dict`` accept the weights of a plain convolution."""
        self.take_plain_weights(state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def forward(self, features: Tensor) -> Tensor:
        """Return the feature map ``(N, D, H', W')`` of ``features (N, C, H, W)``."""
        # There is no bfloat16 kernel, and bfloat16 coordinates would be a quarter pixel apart at 32.
        precise = torch.promote_types(features.dtype, torch.float32)
        predicted = self.predictor(features).to(precise)
        offsets, modulation = predicted[:, : self.num_offsets], predicted[:, self.num_offsets :]
        layer = self.convolution
        sampled: Tensor = deform_conv2d(
            features.to(precise),
            offsets,
            layer.weight.to(precise),
            None if layer.bias is None else layer.bias.to(precise),
            stride=layer.stride,
            padding=layer.padding,
            dilation=layer.dilation,
            mask=2 * modulation.sigmoid() if modulation.shape[1] else None,
        )
        return sampled.to(features.dtype)


def create_deformable_resnet(
    num_classes: int,
    num_channels: int,
    *,
    plain: str,
    deformable_stages: int = 2,
    modulated: bool = False,
    drop_rate: float = 0.0,
    drop_path_rate: float = 0.0,
    pretrained: bool = False,
) -> nn.Module:
    """Build timm's residual network ``plain`` with deformable 3×3 convolutions in its last stages.

    The same seed gives the same weights as the plain network, and so, at first, the same outputs.

    Args:
        num_classes: classes ``K``.
        num_channels: channels ``C`` of the images.
        plain: timm's name of the network.
        deformable_stages: how many of the last stages: Zhu et al. 2019 take all but the first, 3.
        modulated: weight the points that a kernel reads, too.
        drop_rate: dropout before the classifier.
        drop_path_rate: stochastic depth of the last block; 0 in the first, growing linearly between.
        pretrained: take timm's published weights of the plain network.

    Raises:
        ValueError: ``deformable_stages`` is not 1, 2 or 3, or published weights cannot be reached.
    """
    if deformable_stages not in (1, 2, 3):
        raise ValueError(
            f"deformable_stages: got {deformable_stages}, expected 1, 2 or 3 of the last stages; "
            f"use the network {plain} for none"
        )
    rates = {"drop_rate": drop_rate, "drop_path_rate": drop_path_rate}
    body = timm_networks.create_body(plain, num_classes, num_channels, pretrained, rates)
    for number in range(5 - deformable_stages, 5):
        for parent, name, convolution in spatial_convolutions(body.get_submodule(f"layer{number}")):
            setattr(parent, name, DeformableConvolution(convolution, modulated))
    return body


def published(name: str) -> Published:
    """Return what timm's weights of the plain network were trained on."""
    return timm_networks.published(name.removeprefix(PREFIX))


def with_deformable_keys(body: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights by the names of ``body``, whose deformable convolutions may be plain in ``weights``."""
    renamed = dict(weights)
    for name, module in body.named_modules():
        if isinstance(module, DeformableConvolution):
            module.take_plain_weights(renamed, f"{name}.")
    return renamed


def spatial_convolutions(stage: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Conv2d]]:
    """Yield the 3×3 convolutions of a stage: the module that holds each, its name there and itself."""
    for parent in list(stage.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Conv2d) and child.kernel_size == (3, 3):
                yield parent, name, child


NETWORKS: dict[str, Callable[..., nn.Module]] = {
    f"{PREFIX}{plain}": partial(create_deformable_resnet, plain=plain) for plain in ("resnet18", "resnet50")
}
