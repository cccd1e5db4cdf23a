"""Optimizers and learning-rate schedules."""

from lightning.pytorch.utilities.types import OptimizerLRScheduler
from timm.optim import create_optimizer_v2
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LinearLR, LRScheduler, SequentialLR

from lightning_modules.settings import OptimizerSettings, require

WARMUP_START = 0.01
"""Share of the peak learning rate at which a warm-up starts."""


def create_optimizer(network: nn.Module, settings: OptimizerSettings) -> Optimizer:
    """Return the optimizer by timm's name, biases and norms without weight decay.

    Raises:
        ValueError: the name is not among timm's optimizers.
    """
    options = {"momentum": settings.momentum} if "sgd" in settings.name else {}
    try:
        optimizer: Optimizer = create_optimizer_v2(
            network, opt=settings.name, lr=settings.lr, weight_decay=settings.weight_decay, **options
        )
    except ValueError as error:
        raise ValueError(
            f"optimizer.name: got {settings.name!r}, expected a name of timm.optim.list_optimizers() ({error})"
        ) from error
    return optimizer


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


def configure(network: nn.Module, settings: OptimizerSettings, num_steps: int) -> OptimizerLRScheduler:
    """Return what Lightning's ``configure_optimizers`` returns: optimizer and a schedule stepped every batch."""
    optimizer = create_optimizer(network, settings)
    schedule = create_schedule(optimizer, settings, num_steps)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
