"""Segmentation at a fraction of the images' resolution."""

import torch.nn.functional as F
from torch import Tensor, nn

from lightning_modules.networks.segmentation.mirroring import mirrored, next_multiple


class Folded(nn.Module):
    """A network that sees blocks of pixels as channels; its logits are enlarged bilinearly to the images' size.

    Nothing of the images is lost (Shi et al. 2016, "Real-time single image and video super-resolution using an
    efficient sub-pixel convolutional neural network", section 2.2, in reverse). With blocks of 2×2 the finest maps, on
    which most of the time goes, have a quarter of the pixels; outlines are as fine as those maps.

    Args:
        folded: takes ``(N, C * stride**2, H / stride, W / stride)``, returns logits of that height and width.
        stride: side of a block in pixels, 1 or more.
    """

    def __init__(self, folded: nn.Module, stride: int) -> None:
        super().__init__()
        self.folded = folded
        self.stride = stride

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(N, K, H, W)`` of normalised ``images (N, C, H, W)``."""
        height, width = images.shape[-2:]
        sides = (next_multiple(height, self.stride), next_multiple(width, self.stride))
        logits = self.folded(F.pixel_unshuffle(mirrored(images, 0, sides), self.stride))
        return F.interpolate(logits, sides, mode="bilinear")[..., :height, :width]

    def get_classifier(self) -> nn.Module | list[nn.Module]:
        """Return the layers that give the logits."""
        classifier: nn.Module | list[nn.Module] = self.folded.get_classifier()  # type: ignore[operator]
        return classifier
