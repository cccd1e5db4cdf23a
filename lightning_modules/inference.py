"""Networks made ready for inference, and the labelling of images with them."""

import copy
from typing import Any, Literal, get_args

import torch
from lightning import LightningModule
from torch import Tensor, nn

from lightning_modules.fusing import fold_batch_norms, fuse_relus
from lightning_modules.networks import Network
from lightning_modules.networks.names import SEGMENTATION, resolve
from lightning_modules.sliding_window import predict_whole
from lightning_modules.small_maps import speed_up_small_maps

Precision = Literal["auto", "float32", "bfloat16"]

SMALLEST_BATCH = 64
"""Images to which smaller batches are filled up: processors sum products of few rows in another order.

Those of segmentation networks are not: nearly all their products have a row a pixel, and their images are large.
"""

LARGEST_BATCH = 128
"""Images that a processor classifies at once in bfloat16: the maps of more leave its caches. On two cores 768 images of
28 pixels took cnn_large 0.31 s in parts of 128 and 0.41 s in parts of 256, ResNet-18 0.21 and 0.20 s; in float32 the
parts made no such difference."""


class InferenceNetwork(nn.Module):
    """Runs a network channels-last, in bfloat16 where asked; see ``prepare_for_inference``.

    On a processor the logits of an image do not depend on the images beside it, nor, in batches that are filled up, on
    their number.

    Args:
        network: takes images ``(N, C, H, W)`` in ``[0, 1]``, returns logits.
        dtype: ``torch.float32``, or ``torch.bfloat16`` for what autocast has in lower precision.
        smallest_batch: images to which smaller batches are filled up.
        largest_batch: images into parts of which larger batches are split; ``None`` for no limit.
    """

    def __init__(
        self,
        network: nn.Module,
        dtype: torch.dtype,
        smallest_batch: int = SMALLEST_BATCH,
        largest_batch: int | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.dtype = dtype
        self.smallest_batch = smallest_batch
        self.largest_batch = largest_batch

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits ``(N, K)`` or ``(N, K, H, W)``, float32, of ``images (N, C, H, W)`` in ``[0, 1]``."""
        num_images = len(images)
        if self.largest_batch is not None and num_images > self.largest_batch:
            return torch.cat([self(part) for part in torch.split(images, self.largest_batch)])
        if num_images < self.smallest_batch:
            images = torch.cat((images, images.new_zeros(self.smallest_batch - num_images, *images.shape[1:])))
        images = images.contiguous(memory_format=torch.channels_last)
        # Autocast lowers convolutions and products of matrices; the normalisation of the images stays in float32.
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.dtype == torch.bfloat16):
            logits: Tensor = self.network(images)
        return logits[:num_images].float()


def prepare_for_inference(
    network: nn.Module,
    precision: Precision = "auto",
    device: torch.device | str | None = None,
    smallest_batch: int | None = None,
) -> InferenceNetwork:
    """Return a faster copy of a network, for inference alone: evaluation mode, channels-last, convolutions fused.

    They take in batch norms and, on a processor, ReLU. The copy stays on its device and gives no gradients.
    Logits are those of the network up to rounding: 1e-5 in float32, a few parts in a hundred in bfloat16.

    Args:
        network: takes images ``(N, C, H, W)`` float32 in ``[0, 1]``, returns logits; stays as it is.
        precision: ``auto`` is bfloat16 where the device computes faster in it, else float32.
        device: where the copy goes; default: where the network is.
        smallest_batch: images to which smaller batches are filled up; default 1 for our segmentation networks, else 64.

    Raises:
        ValueError: there is no such precision.
    """
    if precision not in get_args(Precision):
        raise ValueError(f"precision: got {precision!r}, expected one of {', '.join(get_args(Precision))}")
    device = torch.device(device) if device is not None else device_of(network)
    lowered = precision == "bfloat16" or (precision == "auto" and prefers_bfloat16(device))
    # The copy of one of ours leaves auxiliary classifiers behind.
    copied = network.without_auxiliary() if isinstance(network, Network) else copy.deepcopy(network).eval()
    copied = copied.requires_grad_(False).to(device)
    body = copied.body if isinstance(copied, Network) else copied
    fold_batch_norms(body)
    if lowered:
        lower_weights(copied)
    if device.type == "cpu":
        speed_up_small_maps(copied)
        fuse_relus(body)
    copied = copied.to(memory_format=torch.channels_last)
    dtype = torch.bfloat16 if lowered else torch.float32
    of_masks = is_segmentation(network)
    if smallest_batch is None:
        smallest_batch = 1 if of_masks else SMALLEST_BATCH
    largest_batch = LARGEST_BATCH if lowered and device.type == "cpu" and not of_masks else None
    return InferenceNetwork(copied, dtype, smallest_batch, largest_batch).eval()


def is_segmentation(network: nn.Module) -> bool:
    """Return whether a network is one of ours for segmentation, by its name."""
    return isinstance(network, Network) and resolve(network.spec.name)[0] is SEGMENTATION


def device_of(network: nn.Module) -> torch.device:
    """Return where a network's first parameter is; without any, the processor."""
    first = next(network.parameters(), None)
    return torch.device("cpu") if first is None else first.device


def prefers_bfloat16(device: torch.device) -> bool:
    """Return whether a device has units for products of bfloat16 matrices: tiles of a processor, tensor cores."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(torch.cpu._is_amx_tile_supported())


def lower_weights(network: nn.Module) -> None:
    """Cast the weights to bfloat16 that autocast would cast in every call; subclasses, which may change theirs, not."""
    for module in network.modules():
        if type(module) in (nn.Conv2d, nn.Linear):
            module.to(torch.bfloat16)


class Labeler(LightningModule):
    """Predicts class probabilities, for ``trainer.predict``; the network is prepared for inference there.

    Args:
        network: takes images ``(N, C, H, W)`` in ``[0, 1]``, returns logits ``(N, K)`` or ``(N, K, H, W)``.
        precision: see ``prepare_for_inference``.
        flip: average the probabilities of an image and of its mirror image (test-time augmentation).
    """

    def __init__(self, network: nn.Module, *, precision: Precision = "auto", flip: bool = False) -> None:
        super().__init__()
        self.network = network
        self.precision = precision
        self.flip = flip

    def setup(self, stage: str) -> None:
        """Prepare the network for the device that it is going to."""
        if not isinstance(self.network, InferenceNetwork):
            device = self.trainer.strategy.root_device
            self.network = prepare_for_inference(self.network, self.precision, device)

    def forward(self, images: Tensor) -> Tensor:
        """Return the probabilities ``(N, K)`` or ``(N, K, H, W)``, float32, of ``images (N, C, H, W)``."""
        return predict_whole(self.network, images, self.flip)

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Return the probabilities ``(N, K)`` or ``(N, K, H, W)``, float32, of a batch ``(images, ...)``."""
        images, *_ = batch
        probabilities: Tensor = self(images)
        return probabilities
