"""Plain convolutional networks for small images."""

from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor, nn

WIDTHS = {
    "cnn_tiny": ((8,), (22,)),
    "cnn_small": ((16, 16), (32, 32)),
    "cnn_medium": ((32, 32), (64, 64)),
    "cnn_large": ((64, 64), (128, 128), (128, 128)),
}


class PlainCNN(nn.Module):
    """Stages of 3×3 convolutions, batch norm and ReLU, halved by max pooling, then global average pooling.

    Args:
        widths: output channels of the convolutions of each stage; between two stages the side is halved.
        num_classes: classes ``K``.
        num_channels: channels ``C`` of the images.
        drop_rate: dropout before the classifier.
    """

    def __init__(
        self,
        widths: Sequence[Sequence[int]],
        num_classes: int,
        num_channels: int,
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = num_channels
        for number, stage in enumerate(widths):
            if number:
                layers.append(nn.MaxPool2d(2))
            for next_width in stage:
                layers += [
                    nn.Conv2d(width, next_width, 3, padding=1, bias=False),
                    nn.BatchNorm2d(next_width),
                    nn.ReLU(inplace=True),
                ]
                width = next_width
        self.features = nn.Sequential(*layers)
        self.dropout = nn.Dropout(drop_rate)
        self.classifier = nn.Linear(width, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(N, K)`` of normalised ``images (N, C, H, W)``."""
        features: Tensor = self.features(images)
        logits: Tensor = self.classifier(self.dropout(features.mean(dim=(2, 3))))
        return logits


NETWORKS: dict[str, Callable[..., nn.Module]] = {name: partial(PlainCNN, widths) for name, widths in WIDTHS.items()}
