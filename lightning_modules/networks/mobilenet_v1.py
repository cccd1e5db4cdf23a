"""MobileNet V1."""

from collections.abc import Callable

from torch import Tensor, nn

from lightning_modules.networks.residual_cifar import initialise_convolutions

STEM_WIDTH = 32
# Output channels and stride of the thirteen depthwise separable convolutions: table 1 of the paper. It prints stride 2
# for the last one too, although the side stays 7 there: stride 1, as in the authors' code.
BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *(((512, 1),) * 5), (1024, 2), (1024, 1))
NARROWEST = 8


class MobileNetV1(nn.Module):
    """A 3×3 convolution and thirteen depthwise separable ones, then global average pooling.

    Howard et al. 2017, "MobileNets: efficient convolutional neural networks for mobile vision applications", section 3.
    The paper says nothing of the first weights; here they are those of He et al. 2015. Our own because timm's
    ``mobilenetv1_100`` has ReLU6, no argument for α and no other stem.

    Args:
        num_classes: classes ``K``.
        num_channels: channels ``C`` of the images.
        width_multiplier: α, by which every number of channels is multiplied; rounded down, to 8 channels at least.
        stem_stride: stride of the first convolution; 1 suits images of about 32 pixels.
        drop_rate: dropout before the classifier.

    Raises:
        ValueError: ``stem_stride`` is neither 1 nor 2.
    """

    def __init__(
        self,
        num_classes: int,
        num_channels: int,
        *,
        width_multiplier: float = 1.0,
        stem_stride: int = 2,
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__()
        if stem_stride not in (1, 2):
            raise ValueError(
                f"stem_stride: got {stem_stride}, expected 1 or 2; use 1 for images of about 32 pixels, else 2"
            )
        num_inputs = scaled(STEM_WIDTH, width_multiplier)
        blocks = [normalised(nn.Conv2d(num_channels, num_inputs, 3, stem_stride, padding=1, bias=False))]
        for width, stride in BLOCKS:
            num_outputs = scaled(width, width_multiplier)
            blocks.append(depthwise_separable(num_inputs, num_outputs, stride))
            num_inputs = num_outputs
        self.features = nn.Sequential(*blocks)
        self.dropout = nn.Dropout(drop_rate)
        self.classifier = nn.Linear(num_inputs, num_classes)
        initialise_convolutions(self)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(N, K)`` of normalised ``images (N, C, H, W)``."""
        features: Tensor = self.features(images)
        logits: Tensor = self.classifier(self.dropout(features.mean(dim=(2, 3))))
        return logits


def depthwise_separable(num_inputs: int, num_outputs: int, stride: int) -> nn.Sequential:
    """Return a 3×3 convolution of each channel by itself, then a 1×1 convolution that mixes them."""
    depthwise = nn.Conv2d(num_inputs, num_inputs, 3, stride, padding=1, groups=num_inputs, bias=False)
    pointwise = nn.Conv2d(num_inputs, num_outputs, 1, bias=False)
    return nn.Sequential(*normalised(depthwise), *normalised(pointwise))


def normalised(convolution: nn.Conv2d) -> nn.Sequential:
    """Return the convolution with batch norm and ReLU behind it."""
    return nn.Sequential(convolution, nn.BatchNorm2d(convolution.out_channels), nn.ReLU(inplace=True))


def scaled(width: int, width_multiplier: float) -> int:
    """Return ``width`` channels times α, rounded down, 8 at least."""
    return max(NARROWEST, int(width * width_multiplier))


NETWORKS: dict[str, Callable[..., nn.Module]] = {"mobilenet_v1": MobileNetV1}
