"""Segmentation at a fraction of the images' resolution."""

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from lightning_modules.networks.segmentation.mirroring import mirrored, next_multiple

UPSAMPLINGS = ("bilinear", "pixel_shuffle")


class Folded(nn.Module):
    """A network that sees blocks of pixels as channels; its scores of blocks are brought to the images' size.

    Nothing of the images is lost (Shi et al. 2016, "Real-time single image and video super-resolution using an
    efficient sub-pixel convolutional neural network", section 2.2, in reverse). With blocks of 2×2 the finest maps, on
    which most of the time goes, have a quarter of the pixels. Enlarged bilinearly, outlines are as fine as those maps;
    by that paper's ``pixel_shuffle``, for which a block has scores for each of its pixels, as fine as the images.

    Args:
        folded: takes ``(N, C * stride**2, H / stride, W / stride)``, returns ``(N, K, ...)`` of that height and width,
            for ``pixel_shuffle`` ``(N, K * stride**2, ...)``.
        stride: side of a block in pixels, 1 or more.
        upsampling: ``bilinear`` or ``pixel_shuffle``.

    Attributes:
        scores_per_class: scores that a block has for each class.
    """

    def __init__(self, folded: nn.Module, stride: int, upsampling: str = "bilinear") -> None:
        super().__init__()
        self.folded = folded
        self.stride = stride
        self.upsampling = upsampling
        self.scores_per_class = stride**2 if upsampling == "pixel_shuffle" else 1

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(N, K, H, W)`` of normalised ``images (N, C, H, W)``."""
        height, width = images.shape[-2:]
        sides = (next_multiple(height, self.stride), next_multiple(width, self.stride))
        scores = self.folded(F.pixel_unshuffle(mirrored(images, 0, sides), self.stride))
        if self.upsampling == "pixel_shuffle":
            logits = F.pixel_shuffle(scores, self.stride)
        else:
            logits = F.interpolate(scores, sides, mode="bilinear")
        return logits[..., :height, :width]

    def get_classifier(self) -> nn.Module | list[nn.Module]:
        """Return the layers that give the logits."""
        classifier: nn.Module | list[nn.Module] = self.folded.get_classifier()  # type: ignore[operator]
        return classifier


def fold(
    build: Callable[..., nn.Module], num_classes: int, num_channels: int, stride: Any, upsampling: str, pretrained: bool
) -> nn.Module:
    """Return what ``build(num_classes=..., num_channels=...)`` builds, seeing blocks of ``stride`` pixels as one.

    Raises:
        ValueError: the stride or the upsampling is out of range, or weights are published ones, of single pixels.
    """
    if not isinstance(stride, int) or stride < 1:
        raise ValueError(f"output_stride: got {stride!r}, expected a whole number of at least 1")
    if upsampling not in UPSAMPLINGS:
        raise ValueError(f"output_upsampling: got {upsampling!r}, expected one of {', '.join(UPSAMPLINGS)}")
    if stride == 1:
        return build(num_classes=num_classes, num_channels=num_channels)
    if pretrained:
        raise ValueError(
            f"pretrained: got True with output_stride {stride}, expected False: published weights are of "
            "networks that see single pixels; use output_stride 1"
        )
    num_scores = num_classes * stride**2 if upsampling == "pixel_shuffle" else num_classes
    return Folded(build(num_classes=num_scores, num_channels=num_channels * stride**2), stride, upsampling)
