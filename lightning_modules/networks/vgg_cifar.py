"""The VGG networks of the CIFAR distillation tables."""

from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor, nn

from lightning_modules.networks.residual_cifar import initialise_convolutions

WIDTHS = (64, 128, 256, 512, 512)


class VggCifar(nn.Module):
    """Five stages of 3×3 convolutions with batch norm, the first three halved, then global average pooling.

    One linear layer follows instead of the three of Simonyan and Zisserman 2015, as in Tian, Krishnan and Isola 2020,
    "Contrastive representation distillation"; convolutions have biases, as there. (There, images of 64×64 are halved a
    fourth time; here, none are.)

    Args:
        num_classes: classes ``K``.
        num_channels: channels ``C`` of the images.
        depths: convolutions of each stage.
        drop_rate: dropout before the classifier.
    """

    def __init__(self, num_classes: int, num_channels: int, *, depths: Sequence[int], drop_rate: float = 0.0) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        num_inputs = num_channels
        for number, (width, depth) in enumerate(zip(WIDTHS, depths, strict=True)):
            for _ in range(depth):
                layers += [
                    nn.Conv2d(num_inputs, width, 3, padding=1),
                    nn.BatchNorm2d(width),
                    nn.ReLU(inplace=True),
                ]
                num_inputs = width
            if number < 3:
                layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.dropout = nn.Dropout(drop_rate)
        self.classifier = nn.Linear(num_inputs, num_classes)
        self._initialise()

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(N, K)`` of normalised ``images (N, C, H, W)``, 8 pixels a side or more."""
        features: Tensor = self.features(images)
        logits: Tensor = self.classifier(self.dropout(features.mean(dim=(2, 3))))
        return logits

    def _initialise(self) -> None:
        initialise_convolutions(self)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)


NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "vgg8_cifar": partial(VggCifar, depths=(1, 1, 1, 1, 1)),
    "vgg13_cifar": partial(VggCifar, depths=(2, 2, 2, 2, 2)),
}
