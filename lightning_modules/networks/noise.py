"""Dropout and stochastic depth by name, in networks that others wrote."""

from timm.layers import DropPath
from torch import nn
from torchvision.ops import StochasticDepth


def require_noise(name: str, body: nn.Module, drop_rate: float | None, drop_path_rate: float | None) -> None:
    """Check that the rates asked for are in the network: some builders swallow what they do not know.

    Raises:
        ValueError: a rate above 0 is nowhere in the network.
    """
    if drop_rate and not any(drops(module, drop_rate) for module in body.modules()):
        raise has_none(name, "drop_rate", drop_rate)
    if drop_path_rate and not any(drops_paths(module) for module in body.modules()):
        raise has_none(name, "drop_path_rate", drop_path_rate)


def drops(module: nn.Module, rate: float) -> bool:
    """Return whether a module drops features at that rate, as a layer or, in timm, by an attribute."""
    if isinstance(module, nn.Dropout):
        return module.p == rate
    return getattr(module, "drop_rate", None) == rate


def drops_paths(module: nn.Module) -> bool:
    """Return whether a module drops residual branches."""
    if isinstance(module, DropPath):
        return bool(module.drop_prob)
    return isinstance(module, StochasticDepth) and module.p > 0


def has_none(name: str, option: str, given: float) -> ValueError:
    """Return the error for a rate that a network does not have."""
    return ValueError(f"{option}: got {given} for {name!r}, expected none: the network has no {option}; leave it out")
