"""Optimizers and learning-rate schedules."""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any

from lightning.pytorch.utilities.types import OptimizerLRScheduler
from timm.optim import create_optimizer_v2, param_groups_weight_decay
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LinearLR, LRScheduler, SequentialLR

from lightning_modules.muon import Muon
from lightning_modules.networks.layers import layer_groups
from lightning_modules.settings import OptimizerSettings, TransferSettings, require

WARMUP_START = 0.01
"""Share of the peak learning rate at which a warm-up starts."""

FUSED = ("adam", "adamw")
"""Those that PyTorch computes in one kernel, which takes a third of the time on two CPU cores. (Its fused SGD fails
where layers join in later, as in gradual unfreezing.)"""

MUON = ("muon", "nmuon")
"""The second with Nesterov's momentum."""


def create_optimizer(
    network: nn.Module, settings: OptimizerSettings, transfer: TransferSettings | None = None
) -> Optimizer:
    """Return the optimizer of what is not frozen by timm's name; ``muon`` and ``nmuon`` are our own, faster one.

    Biases, norms and what the network's ``no_weight_decay`` names are without weight decay.

    Args:
        network: whose parameters learn.
        settings: name, learning rate and weight decay.
        transfer: with the mode ``discriminative`` the learning rate falls towards the stem.

    Raises:
        ValueError: the name is not among timm's optimizers.
    """
    options: dict[str, Any] = {}
    if "sgd" in settings.name:
        options |= {"momentum": settings.momentum, "nesterov": settings.momentum > 0}
    if settings.name in FUSED:
        options["fused"] = True
    parameters: nn.Module | list[dict[str, Any]] = network
    if transfer is not None and transfer.mode == "discriminative":
        parameters = discriminative_groups(network, settings, transfer.layer_decay)
    if settings.name in MUON:
        return create_muon(parameters, settings)
    try:
        optimizer: Optimizer = create_optimizer_v2(
            parameters, opt=settings.name, lr=settings.lr, weight_decay=settings.weight_decay, **options
        )
    except ValueError as error:
        raise ValueError(
            f"optimizer.name: got {settings.name!r}, expected a name of timm.optim.list_optimizers() ({error})"
        ) from error
    # Gradients are unscaled before the step, as without fusing, or Lightning could not clip them in mixed precision.
    optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]
    return optimizer


def create_muon(parameters: nn.Module | list[dict[str, Any]], settings: OptimizerSettings) -> Optimizer:
    """Return Muon of a network or of parameter groups."""
    groups: Any = parameters
    if isinstance(parameters, nn.Module):
        exempt: set[str] = getattr(parameters, "no_weight_decay", set)()
        groups = param_groups_weight_decay(parameters, settings.weight_decay, no_weight_decay_list=exempt)
    nesterov = settings.name == "nmuon"
    return Muon(groups, settings.lr, settings.weight_decay, settings.momentum, nesterov)


def discriminative_groups(network: nn.Module, settings: OptimizerSettings, layer_decay: float) -> list[dict[str, Any]]:
    """Return parameter groups whose learning rates fall by ``layer_decay`` a group of layers, from head to stem.

    Howard and Ruder 2018, "Universal language model fine-tuning for text classification", section 3.2. (timm's own
    layer decay leaves a scale in the groups that only timm's schedules apply.)
    """
    parameters = {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}
    exempt: set[str] = getattr(network, "no_weight_decay", set)()
    groups: list[dict[str, Any]] = []
    for distance, names in enumerate(reversed(layer_groups(network))):
        rate = settings.lr * layer_decay**distance
        learning = {name: parameters[name] for name in names if name in parameters}
        for decayed in (False, True):
            chosen = [
                parameter for name, parameter in learning.items() if is_decayed(name, parameter, exempt) == decayed
            ]
            if chosen:
                weight_decay = settings.weight_decay if decayed else 0.0
                groups.append({"params": chosen, "lr": rate, "weight_decay": weight_decay})
    return groups


def is_decayed(name: str, parameter: nn.Parameter, exempt: Iterable[str]) -> bool:
    """Return whether a parameter is no bias, of no norm and matches none of the patterns ``exempt``, as in timm."""
    return parameter.ndim > 1 and not name.endswith(".bias") and not any(fnmatchcase(name, each) for each in exempt)


def create_schedule(optimizer: Optimizer, settings: OptimizerSettings, num_steps: int) -> LRScheduler:
    """Return linear warm-up followed by a cosine to zero or a constant, over ``num_steps`` optimizer steps.

    Raises:
        ValueError: the warm-up is not shorter than the run.
    """
    warmup = settings.warmup_steps
    require(warmup < num_steps, "optimizer.warmup_steps", warmup, f"fewer than the {num_steps} steps of the whole run")
    main: LRScheduler
    if settings.schedule == "cosine":
        main = CosineAnnealingLR(optimizer, T_max=num_steps - warmup)
    else:
        main = ConstantLR(optimizer, factor=1.0)
    if not warmup:
        return main
    return SequentialLR(optimizer, [LinearLR(optimizer, WARMUP_START, total_iters=warmup), main], [warmup])


def configure(
    network: nn.Module, settings: OptimizerSettings, num_steps: int, transfer: TransferSettings | None = None
) -> OptimizerLRScheduler:
    """Return what Lightning's ``configure_optimizers`` returns: optimizer and a schedule stepped every batch."""
    optimizer = create_optimizer(network, settings, transfer)
    schedule = create_schedule(optimizer, settings, num_steps)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
