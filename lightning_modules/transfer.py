"""Transfer learning: which layers learn, epoch by epoch."""

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from lightning_modules.networks.layers import layer_groups
from lightning_modules.settings import TransferSettings

FREEZING = ("head", "last_stages", "gradual")
"""Modes in which some parameters stand still."""


def num_trainable_groups(settings: TransferSettings, epoch: int, num_groups: int) -> int:
    """Return how many of ``num_groups`` groups, counted from the head, learn in ``epoch``, counted from 0."""
    wanted = {
        "head": 1,
        "last_stages": 1 + settings.num_stages,
        "gradual": 1 + epoch // settings.unfreeze_every,
    }
    return min(wanted.get(settings.mode, num_groups), num_groups)


def begin_transfer(network: nn.Module, settings: TransferSettings) -> None:
    """Let learn whatever learns in some epoch, which optimizers and DDP must know before the first.

    Raises:
        ValueError: the network has fewer groups than ``last_stages`` asks for.
    """
    require_groups(network, settings)
    if settings.mode == "gradual":
        network.requires_grad_(True)
    else:
        set_trainable(network, settings, epoch=0)


def set_trainable(network: nn.Module, settings: TransferSettings, epoch: int) -> None:
    """Freeze and unfreeze parameters as ``epoch``, counted from 0, has them; gradients of frozen ones go.

    What learns depends on the epoch alone, so a resumed run goes on as if it had not been interrupted. Without a
    gradient a parameter is skipped by its optimizer: no update, no momentum, no weight decay.
    """
    if settings.mode not in FREEZING:
        return
    groups = layer_groups(network)
    frozen = {name for group in groups[: -num_trainable_groups(settings, epoch, len(groups))] for name in group}
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name not in frozen)
        if name in frozen:
            parameter.grad = None


def hold_norms(network: nn.Module) -> None:
    """Put the batch norms among frozen layers in evaluation mode: their running statistics are used and kept.

    A norm without parameters of its own goes with the layer registered before it.
    """
    is_frozen = not next(network.parameters()).requires_grad
    for module in network.modules():
        own = list(module.parameters(recurse=False))
        if own:
            is_frozen = not any(parameter.requires_grad for parameter in own)
        if isinstance(module, _NormBase) and is_frozen:
            module.eval()


def require_groups(network: nn.Module, settings: TransferSettings) -> None:
    """Raise a ``ValueError`` where a network has fewer groups than ``last_stages`` asks for."""
    if settings.mode != "last_stages":
        return
    groups = layer_groups(network)
    if settings.num_stages >= len(groups):
        raise ValueError(
            f"transfer.num_stages: got {settings.num_stages}, expected at most {len(groups) - 1}, the groups of layers "
            "that this network has before its head; use transfer.mode=full to train them all"
        )
