"""What a user may set about learning. This file imports no torch, so that a command line can read it at once."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class OptimizerSettings:
    """Optimizer and learning-rate schedule.

    Args:
        name: any optimizer of ``timm.optim.create_optimizer_v2``: ``adamw``, ``sgd`` (Nesterov), ``lamb``, ...
        lr: peak learning rate.
        weight_decay: decoupled where the optimizer decouples; biases and norms are never decayed.
        momentum: of SGD and its relatives; others ignore it.
        schedule: ``cosine`` decays to zero over the run, ``constant`` stays at ``lr``.
        warmup_steps: steps of linear warm-up from ``lr / 100``.
    """

    name: str = "adamw"
    lr: float = 3e-3
    weight_decay: float = 0.05
    momentum: float = 0.9
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup_steps: int = 0

    def __post_init__(self) -> None:
        require(self.lr > 0, "optimizer.lr", self.lr, "a learning rate above 0, such as 0.003")
        require(self.weight_decay >= 0, "optimizer.weight_decay", self.weight_decay, "0 or more")
        require(0 <= self.momentum < 1, "optimizer.momentum", self.momentum, "a number in [0, 1)")
        require(self.warmup_steps >= 0, "optimizer.warmup_steps", self.warmup_steps, "0 or more steps")


@dataclass(frozen=True)
class DistillationSettings:
    """The distillation loss ``(1 - alpha) * CE + alpha * T^2 * KL`` (Hinton et al. 2015).

    Args:
        temperature: T, which softens both distributions.
        alpha: weight of the distillation term; the cross-entropy with the true labels has ``1 - alpha``.
        labels: ``soft`` takes the teacher's distribution, ``hard`` its most probable class (Touvron et al. 2021).
        temperature_end: T at the end of training, where it is scheduled.
        alpha_end: alpha at the end of training, where it is scheduled.
        schedule: how temperature and alpha move to their ends: ``constant``, ``linear`` or ``cosine``.
    """

    temperature: float = 4.0
    alpha: float = 0.9
    labels: Literal["soft", "hard"] = "soft"
    temperature_end: float | None = None
    alpha_end: float | None = None
    schedule: Literal["constant", "linear", "cosine"] = "constant"

    def __post_init__(self) -> None:
        for option in ("temperature", "temperature_end"):
            value = getattr(self, option)
            require(value is None or value > 0, f"distillation.{option}", value, "a temperature above 0, such as 4")
        for option in ("alpha", "alpha_end"):
            value = getattr(self, option)
            require(value is None or 0 <= value <= 1, f"distillation.{option}", value, "a weight in 0..1")
        has_end = self.temperature_end is not None or self.alpha_end is not None
        require(
            has_end == (self.schedule != "constant"),
            "distillation.schedule",
            self.schedule,
            "'linear' or 'cosine' together with temperature_end or alpha_end, else 'constant' without them",
        )


def require(holds: bool, option: str, given: object, expected: str) -> None:
    """Raise a ``ValueError`` that names the option, what was given and what is expected, unless it holds."""
    if not holds:
        raise ValueError(f"{option}: got {given!r}, expected {expected}")
