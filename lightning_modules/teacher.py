"""The frozen teacher."""

import hashlib

import torch
from torch import Tensor, nn


class FrozenTeacher:
    """Holds a network that teaches: evaluation mode always, no gradients, never in a student's checkpoint.

    It is not an ``nn.Module``, so a LightningModule that holds one has it neither among its parameters nor in
    its state dict. It follows the images to their device, and computes channels-last.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network.requires_grad_(False).eval().to(memory_format=torch.channels_last)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Return the logits ``(N, K)`` or ``(N, K, H, W)`` of ``images (N, C, H, W)`` in ``[0, 1]``."""
        first = next(self.network.parameters(), None)
        if first is not None and first.device != images.device:
            self.network.to(images.device)
        if self.network.training:  # somebody else holds the network too and called train()
            self.network.eval()
        logits: Tensor = self.network(images)
        return logits

    def digest(self) -> str:
        """Return the SHA-256 of the weights, in hexadecimal: names, shapes and values of the state dict."""
        return state_digest(self.network)


def state_digest(network: nn.Module) -> str:
    """Return the SHA-256 over names, dtypes, shapes and bytes of a network's state dict."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        array = value.detach().cpu().contiguous()
        digest.update(f"{name} {array.dtype} {tuple(array.shape)}".encode())
        digest.update(array.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
