"""The residual networks of the CIFAR distillation tables."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise

import torch.nn.functional as F
from timm.layers import DropPath
from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions with batch norm around a shortcut, ReLU after the sum.

    The shortcut is the identity, or a 1×1 convolution with batch norm where side or channels change: option B of
    He et al. 2016, as in Tian et al. 2020; the paper's own CIFAR networks take the parameter-free option A.

    Args:
        num_inputs: channels that come in.
        num_outputs: channels that go out.
        stride: of the first convolution and of the shortcut.
        drop_path_rate: probability that a sample skips the block's convolutions in training.
    """

    def __init__(self, num_inputs: int, num_outputs: int, stride: int, drop_path_rate: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(num_inputs, num_outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(num_outputs)
        self.relu = nn.ReLU(inplace=True)  # a layer, which inference computes with the convolution
        self.conv2 = nn.Conv2d(num_outputs, num_outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(num_outputs)
        self.drop_path = DropPath(drop_path_rate)
        self.shortcut = nn.Sequential()
        if stride != 1 or num_inputs != num_outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(num_inputs, num_outputs, 1, stride, bias=False), nn.BatchNorm2d(num_outputs)
            )

    def forward(self, features: Tensor) -> Tensor:
        """Return ``(N, num_outputs, H / stride, W / stride)`` of ``features (N, num_inputs, H, W)``."""
        residual = self.norm2(self.conv2(self.relu(self.norm1(self.conv1(features)))))
        return F.relu(self.shortcut(features) + self.drop_path(residual))


class ResidualCifar(nn.Module):
    """A 3×3 stem, three stages of equally many blocks, the last two halving the side, then global average pooling.

    He, Zhang, Ren and Sun 2016, "Deep residual learning for image recognition", section 4.2; the widths of the x4
    networks are those of Tian, Krishnan and Isola 2020, "Contrastive representation distillation".

    Args:
        num_classes: classes ``K``.
        num_channels: channels ``C`` of the images.
        depth: layers that have weights, shortcuts aside: 6n + 2 for n blocks a stage.
        widths: channels of the stem and of the three stages.
        drop_rate: dropout before the classifier.
        drop_path_rate: stochastic depth of the last block; 0 in the first, growing linearly between.

    Raises:
        ValueError: there is no such depth.
    """

    def __init__(
        self,
        num_classes: int,
        num_channels: int,
        *,
        depth: int,
        widths: Sequence[int] = (16, 16, 32, 64),
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__()
        num_blocks = blocks_per_stage(depth, outside=2)
        rates = drop_path_rates(drop_path_rate, 3 * num_blocks)
        self.stem = nn.Sequential(
            nn.Conv2d(num_channels, widths[0], 3, padding=1, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(inplace=True),
        )
        self.stages = residual_stages(ResidualBlock, widths, num_blocks, rates)
        self.dropout = nn.Dropout(drop_rate)
        self.classifier = nn.Linear(widths[-1], num_classes)
        initialise_convolutions(self)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(N, K)`` of normalised ``images (N, C, H, W)``."""
        features: Tensor = self.stages(self.stem(images))
        logits: Tensor = self.classifier(self.dropout(features.mean(dim=(2, 3))))
        return logits


def residual_stages(
    block: Callable[[int, int, int, float], nn.Module], widths: Sequence[int], num_blocks: int, rates: Iterator[float]
) -> nn.Sequential:
    """Return three stages of ``num_blocks`` blocks; the first block of each but the first halves the side."""
    stages = nn.Sequential()
    for number, (num_inputs, width) in enumerate(pairwise(widths)):
        first = block(num_inputs, width, 2 if number else 1, next(rates))
        rest = [block(width, width, 1, next(rates)) for _ in range(num_blocks - 1)]
        stages.append(nn.Sequential(first, *rest))
    return stages


def blocks_per_stage(depth: int, outside: int) -> int:
    """Return n of ``depth`` = 6n + ``outside``: three stages of n blocks of two layers.

    Raises:
        ValueError: there is no such n.
    """
    num_blocks, left = divmod(depth - outside, 6)
    if left or num_blocks < 1:
        raise ValueError(
            f"depth: got {depth}, expected 6n + {outside} with n at least 1; use {6 * max(1, num_blocks) + outside}"
        )
    return num_blocks


def drop_path_rates(last: float, num_blocks: int) -> Iterator[float]:
    """Return the rate of each block: 0 for the first, ``last`` for the last, linear between.

    Huang et al. 2016, "Deep networks with stochastic depth", section 3, counted from the first block as in timm.
    """
    return (last * number / (num_blocks - 1) for number in range(num_blocks))


def initialise_convolutions(network: nn.Module) -> None:
    """Draw the weights of all convolutions from a normal distribution of variance 2 / fan-out; biases become zero.

    He et al. 2015, "Delving deep into rectifiers", equation 14.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


NETWORKS: dict[str, Callable[..., nn.Module]] = {
    **{f"resnet{depth}": partial(ResidualCifar, depth=depth) for depth in (8, 14, 20, 32, 44, 56, 110)},
    **{f"resnet{depth}x4": partial(ResidualCifar, depth=depth, widths=(32, 64, 128, 256)) for depth in (8, 32)},
}
