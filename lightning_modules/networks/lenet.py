"""LeNet-5."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

FIELD = 32
MAP = 5


class LeNet5(nn.Module):
    """Two 5×5 convolutions, each with 2×2 pooling, then three linear layers (61,706 parameters at 1×32×32, 10 classes).

    As usually taught today: ReLU and max pooling, and a linear last layer, where the paper has scaled tanh, trained
    average pooling, a partly connected second convolution and Gaussian output units.

    Images of any side are taken: below 32 pixels they are centred in a 32×32 field of zeros, as the paper centres its
    28×28 digits; above, the last feature map is pooled adaptively to the 5×5 that it has at 32×32.

    LeCun, Bottou, Bengio and Haffner 1998, "Gradient-based learning applied to document recognition", section II.B.

    Args:
        num_classes: classes ``K``.
        num_channels: channels ``C`` of the images.
        drop_rate: dropout before the classifier.
    """

    def __init__(self, num_classes: int, num_channels: int, drop_rate: float = 0.0) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(num_channels, 6, 5),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
        )
        self.hidden = nn.Sequential(
            nn.Linear(16 * MAP * MAP, 120), nn.ReLU(inplace=True), nn.Linear(120, 84), nn.ReLU(inplace=True)
        )
        self.dropout = nn.Dropout(drop_rate)
        self.classifier = nn.Linear(84, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(N, K)`` of normalised ``images (N, C, H, W)``."""
        features: Tensor = self.features(centred(images))
        # The pooling's gradient has no deterministic CUDA kernel, so 32 pixels and below go without it.
        if features.shape[-2:] != (MAP, MAP):
            features = F.adaptive_avg_pool2d(features, MAP)
        logits: Tensor = self.classifier(self.dropout(self.hidden(features.flatten(1))))
        return logits


def centred(images: Tensor) -> Tensor:
    """Return ``images (N, C, H, W)`` with zeros around them where a side is below 32 pixels."""
    missing_rows, missing_columns = (max(0, FIELD - side) for side in images.shape[-2:])
    top, left = missing_rows // 2, missing_columns // 2
    return F.pad(images, (left, missing_columns - left, top, missing_rows - top))


NETWORKS: dict[str, Callable[..., nn.Module]] = {"lenet5": LeNet5}
