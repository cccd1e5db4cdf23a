"""The smallest image a network takes, found without computing: on the meta device."""

import torch
from torch import nn
from torch.func import functional_call

from lightning_modules.networks.shapes import ShapesOnly

LARGEST_SIDE = 1024
"""Pixels; a network that runs at no side up to here is not judged."""


def runs(body: nn.Module, num_channels: int, side: int) -> bool:
    """Return whether a forward pass of two images of ``side`` pixels works; shapes only, no weight is touched."""
    state = [*body.named_parameters(), *body.named_buffers()]
    on_meta = {name: torch.empty_like(value, device="meta") for name, value in state}
    try:
        with torch.device("meta"), torch.no_grad(), ShapesOnly():
            functional_call(body, on_meta, (torch.empty(2, num_channels, side, side),))
    except (RuntimeError, ValueError, AssertionError):
        return False
    return True


def smallest_input(body: nn.Module, num_channels: int, above: int = 0) -> int | None:
    """Return the smallest side above ``above`` at which a network runs, in pixels; ``None`` where none is found.

    It is found by doubling and bisection, which takes the network to run at every side past its smallest; one
    that takes a single size only, as transformers do, is found at the size of its published weights.
    """
    sides = [max(1, above) * 2**power for power in range(1, LARGEST_SIDE.bit_length())]
    published: int = (getattr(body, "pretrained_cfg", None) or {}).get("input_size", (0,))[-1]
    candidates = [*(side for side in sides if side <= LARGEST_SIDE), published]
    enough: int | None = next((side for side in candidates if side > above and runs(body, num_channels, side)), None)
    if enough is None:
        return None
    low, high = above, enough
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if runs(body, num_channels, middle) else (middle, high)
    return high


def require_large_enough(
    name: str, body: nn.Module, num_channels: int, image_size: int, input_size: int | None
) -> None:
    """Check that a network runs on the images it is to take.

    Args:
        name: of the network.
        body: in training mode, where batch norm needs more than one value a channel.
        num_channels: channels ``C`` of the images.
        image_size: side of the images as they come, in pixels.
        input_size: side to which they are resized first, ``None`` where they are not.

    Raises:
        ValueError: it does not; the message names the smallest side that it takes.
    """
    option, side = ("image_size", image_size) if input_size is None else ("input_size", input_size)
    if runs(body, num_channels, side):
        return
    smallest = smallest_input(body, num_channels, above=side)
    if smallest is None:
        return
    bound = "at least" if runs(body, num_channels, 2 * smallest) else "exactly"
    raise ValueError(
        f"{option}: got {side}, expected {bound} {smallest} pixels for {name!r}; "
        f"with input_size={smallest} images are resized to that first"
    )
