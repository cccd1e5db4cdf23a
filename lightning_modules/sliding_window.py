"""Masks of images: in one piece, or of larger ones window by window, so that memory does not grow with the image."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from lightning_modules.segmentation_metrics import most_probable_classes
from lightning_modules.settings import require


@torch.no_grad()
def predict_whole(network: nn.Module, images: Tensor, flip: bool = False) -> Tensor:
    """Return the probabilities ``(N, K)`` or ``(N, K, H, W)``, float32, of ``images (N, C, H, W)`` in ``[0, 1]``.

    Args:
        network: in evaluation mode; returns logits.
        images: where the network is.
        flip: average the probabilities of an image and of its mirror image (test-time augmentation).
    """
    probabilities: Tensor = network(images).float().softmax(dim=1)
    if not flip:
        return probabilities
    mirrored: Tensor = network(images.flip(-1)).float().softmax(dim=1)
    return (probabilities + (mirrored.flip(-1) if mirrored.ndim == 4 else mirrored)) / 2


class SlidingWindow:
    """Predicts the mask of an image from overlapping windows, whose probabilities are blended.

    In an overlap the weight of a window falls linearly towards its border, and the last quarter has none: there a
    convolution sees the window's padding. So the mask is that of ``predict_whole`` for a network in which a pixel
    depends on no other more than ``overlap / 4`` away. Along the image's own border a window has its full weight.

    Memory: the image, its mask, and the probabilities of one row of windows, ``K * window * W`` floats.

    Args:
        network: in evaluation mode; takes ``(N, C, window, window)`` in ``[0, 1]``, or the image's height or width
            where that is less, and returns logits ``(N, K, H, W)`` of the same size, ``K`` up to 255.
        window: height and width of a window in pixels.
        overlap: of neighbouring windows in pixels; less than ``window``.
        batch_size: windows that the network is given together; more than 1 pays on an accelerator, and costs memory.
        flip: see ``predict_whole``.

    Raises:
        ValueError: an option is out of range.
    """

    def __init__(
        self, network: nn.Module, *, window: int = 512, overlap: int = 128, batch_size: int = 1, flip: bool = False
    ) -> None:
        require(window >= 1, "window", window, "a height and width of 1 pixel or more, such as 512")
        require(0 <= overlap < window, "overlap", overlap, f"pixels in 0..{window - 1}, less than window={window}")
        require(batch_size >= 1, "batch_size", batch_size, "1 window or more")
        self.network = network
        self.window = window
        self.overlap = overlap
        self.batch_size = batch_size
        self.flip = flip

    def __call__(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return the classes ``(H, W)`` uint8 and their probabilities ``(H, W)`` float32.

        Args:
            image: ``(C, H, W)`` uint8 pixels, or float in ``[0, 1]``, where the network is.
        """
        height, width = image.shape[1:]
        classes = torch.empty(height, width, dtype=torch.uint8, device=image.device)
        confidences = torch.empty(height, width, device=image.device)
        for top, band_classes, band_confidences in self.bands(image):
            rows = slice(top, top + len(band_classes))
            classes[rows], confidences[rows] = band_classes, band_confidences
        return classes, confidences

    def bands(self, image: Tensor) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Yield the first row, classes ``(h, W)`` uint8 and probabilities ``(h, W)`` of one band below another."""
        height = image.shape[1]
        tops, weights = place_windows(height, self.window, self.overlap)
        ends = [*tops[1:], height]
        blended: Tensor | None = None
        for top, end, weight in zip(tops, ends, weights, strict=True):
            row = self._blend_row(image[:, top : top + len(weight)], weight)
            if blended is not None:
                row[:, : blended.shape[1]] += blended
            band = row[:, : end - top]
            yield top, most_probable_classes(band.unsqueeze(0))[0], band.amax(dim=0)
            blended = row[:, end - top :].clone()
            del row, band  # before the next row is there

    def _blend_row(self, strip: Tensor, weight: Tensor) -> Tensor:
        """Return ``(K, h, W)``, the probabilities of the windows side by side in a strip ``(C, h, W)``.

        Args:
            strip: the part of the image that this row of windows covers.
            weight: ``(h,)``, of each row of pixels.
        """
        lefts, weights = place_windows(strip.shape[2], self.window, self.overlap)
        row: Tensor | None = None
        for first in range(0, len(lefts), self.batch_size):
            starts = lefts[first : first + self.batch_size]
            windows = torch.stack([strip[:, :, left : left + len(weights[0])] for left in starts])
            probabilities = predict_whole(self.network, unit_interval(windows), self.flip)
            if row is None:
                row = strip.new_zeros(probabilities.shape[1], *strip.shape[1:], dtype=torch.float32)
            for left, window, columns in zip(starts, probabilities, weights[first:], strict=False):
                share = weight.to(row.device).unsqueeze(1) * columns.to(row.device)
                row[:, :, left : left + len(columns)].addcmul_(window, share)
        assert row is not None, "every image has a window"
        return row


def place_windows(length: int, window: int, overlap: int) -> tuple[list[int], Tensor]:
    """Return where windows start along one side of an image, and the weights of their pixels.

    The weights ``(windows, min(window, length))`` of all windows sum to 1 at each pixel of the image.

    Args:
        length: of the image's side.
        window: length of a window; the last one ends where the image ends.
        overlap: of neighbouring windows; the last two may overlap more.
    """
    window = min(window, length)
    last = length - window
    starts = [*range(0, last, window - overlap), last] if last else [0]
    weights = torch.stack([border_ramp(window, overlap, start > 0, start < last) for start in starts])
    total = torch.zeros(length)
    for start, weight in zip(starts, weights, strict=True):
        total[start : start + window] += weight
    return starts, torch.stack([w / total[s : s + window] for s, w in zip(starts, weights, strict=True)])


def border_ramp(window: int, overlap: int, falls_at_start: bool, falls_at_end: bool) -> Tensor:
    """Return weights ``(window,)`` in 0..1: from 0 in the outer quarter of the overlap to 1 at three quarters of it."""
    margin = overlap // 4
    distance = torch.arange(window) + 0.5
    ramp = ((distance - margin) / max(1, overlap - 2 * margin)).clamp(0, 1) if overlap else torch.ones(window)
    ones = torch.ones(window)
    return (ramp if falls_at_start else ones) * (ramp.flip(0) if falls_at_end else ones)


def unit_interval(images: Tensor) -> Tensor:
    """Return images in ``[0, 1]`` of uint8 pixels; others as they are."""
    return images.float().mul_(1 / 255) if images.dtype == torch.uint8 else images
