"""The auxiliary classifier of Inception-v3."""

import torch.nn.functional as F
from torch import Tensor, nn

MAP = 5
SMALLEST_PUBLISHED_MAP = 17
"""Side of the map at 299 pixels; its pooling leaves less than the 5×5 that the convolution reads from any smaller."""


class AuxiliaryClassifier(nn.Module):
    """torchvision's auxiliary classifier, which also takes the maps of images below 299 pixels.

    There it pools adaptively to the 5×5 that the published pooling gives at 299 pixels.

    Args:
        classifier: torchvision's, whose layers and names are taken over.
    """

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        self.conv0 = classifier.get_submodule("conv0")
        self.conv1 = classifier.get_submodule("conv1")
        self.fc = classifier.get_submodule("fc")

    def forward(self, features: Tensor) -> Tensor:
        """Return logits ``(N, K)`` of ``features (N, 768, H, W)``."""
        if min(features.shape[-2:]) < SMALLEST_PUBLISHED_MAP:
            pooled = F.adaptive_avg_pool2d(features, MAP)
        else:
            pooled = F.avg_pool2d(features, kernel_size=5, stride=3)
        logits: Tensor = self.fc(self.conv1(self.conv0(pooled)).mean(dim=(2, 3)))
        return logits
