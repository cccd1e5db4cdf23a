"""Wide residual networks."""

from collections.abc import Callable
from functools import partial

import torch.nn.functional as F
from timm.layers import DropPath
from torch import Tensor, nn

from lightning_modules.networks.residual_cifar import (
    blocks_per_stage,
    drop_path_rates,
    initialise_convolutions,
    residual_stages,
)


class PreactivatedBlock(nn.Module):
    """Batch norm and ReLU before each of two 3×3 convolutions, around a shortcut.

    The shortcut is the identity, or, where the channels change, a 1×1 convolution of the activated input.

    Args:
        num_inputs: channels that come in.
        num_outputs: channels that go out.
        stride: of the first convolution and of the shortcut.
        drop_path_rate: probability that a sample skips the block's convolutions in training.
    """

    def __init__(self, num_inputs: int, num_outputs: int, stride: int, drop_path_rate: float) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(num_inputs)
        self.conv1 = nn.Conv2d(num_inputs, num_outputs, 3, stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(num_outputs)
        self.conv2 = nn.Conv2d(num_outputs, num_outputs, 3, padding=1, bias=False)
        self.drop_path = DropPath(drop_path_rate)
        self.shortcut: nn.Module | None = None
        if num_inputs != num_outputs:
            self.shortcut = nn.Conv2d(num_inputs, num_outputs, 1, stride, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Return ``(N, num_outputs, H / stride, W / stride)`` of ``features (N, num_inputs, H, W)``."""
        activated = F.relu(self.norm1(features))
        residual = self.conv2(F.relu(self.norm2(self.conv1(activated))))
        kept: Tensor = features if self.shortcut is None else self.shortcut(activated)
        return kept + self.drop_path(residual)  # type: ignore[no-any-return]


class WideResidual(nn.Module):
    """A 3×3 stem of 16 channels, three stages of pre-activated blocks, then global average pooling.

    Zagoruyko and Komodakis 2016, "Wide residual networks", table 1, without their dropout inside the blocks.

    Args:
        num_classes: classes ``K``.
        num_channels: channels ``C`` of the images.
        depth: convolutions, one shortcut a stage among them: 6n + 4 for n blocks a stage.
        width_multiplier: k of WRN-d-k; the stages have 16k, 32k and 64k channels.
        drop_rate: dropout before the classifier.
        drop_path_rate: stochastic depth of the last block; 0 in the first, growing linearly between.

    Raises:
        ValueError: there is no such depth, or the width multiplier is below 1.
    """

    def __init__(
        self,
        num_classes: int,
        num_channels: int,
        *,
        depth: int,
        width_multiplier: int = 1,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__()
        if width_multiplier != int(width_multiplier) or width_multiplier < 1:
            raise ValueError(
                f"width_multiplier: got {width_multiplier}, expected a whole number of at least 1; use 1 for the "
                "narrowest wide residual network"
            )
        widths = (16, *(width * int(width_multiplier) for width in (16, 32, 64)))
        num_blocks = blocks_per_stage(depth, outside=4)
        rates = drop_path_rates(drop_path_rate, 3 * num_blocks)
        self.stem = nn.Conv2d(num_channels, widths[0], 3, padding=1, bias=False)
        self.stages = residual_stages(PreactivatedBlock, widths, num_blocks, rates)
        self.norm = nn.BatchNorm2d(widths[-1])
        self.dropout = nn.Dropout(drop_rate)
        self.classifier = nn.Linear(widths[-1], num_classes)
        initialise_convolutions(self)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(N, K)`` of normalised ``images (N, C, H, W)``."""
        features: Tensor = F.relu(self.norm(self.stages(self.stem(images))))
        logits: Tensor = self.classifier(self.dropout(features.mean(dim=(2, 3))))
        return logits


NETWORKS: dict[str, Callable[..., nn.Module]] = {
    f"wrn_{depth}_{width}": partial(WideResidual, depth=depth, width_multiplier=width)
    for depth in (16, 40)
    for width in (1, 2)
}
