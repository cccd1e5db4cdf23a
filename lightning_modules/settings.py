"""What a user may set about learning. This file imports no torch, so that a command line can read it at once."""

from dataclasses import dataclass
from typing import ClassVar, Literal


@dataclass(frozen=True)
class OptimizerSettings:
    """Optimizer and learning-rate schedule.

    Args:
        name: any optimizer of ``timm.optim.create_optimizer_v2``: ``adamw``, ``sgd`` (Nesterov), ``lamb``, ...
        lr: peak learning rate.
        weight_decay: decoupled where the optimizer decouples; biases and norms are never decayed.
        momentum: of SGD and its relatives, and of Muon; others ignore it.
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
        labels: ``soft`` takes the teacher's distribution, ``hard`` its most probable class (Touvron et al. 2021),
            ``channel_wise``, of masks, where it sees each class (Shu et al. 2021).
        temperature_end: T at the end of training, where it is scheduled.
        alpha_end: alpha at the end of training, where it is scheduled.
        schedule: how temperature and alpha move to their ends: ``constant``, ``linear`` or ``cosine``.
    """

    temperature: float = 4.0
    alpha: float = 0.9
    labels: Literal["soft", "hard", "channel_wise"] = "soft"
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


@dataclass(frozen=True)
class TransferSettings:
    """Which layers of a pretrained network learn, and how fast. Layers come in groups, from the stem to the head.

    Args:
        mode: ``full`` trains everything alike; ``head`` the classifier alone, batch norms of the rest frozen too;
            ``last_stages`` also the last groups before it; ``discriminative`` everything, slower towards the stem
            (Howard and Ruder 2018, section 3.2); ``gradual`` one group more every few epochs, from the head on
            (section 3.3).
        num_stages: of last_stages: groups that learn beside the head.
        layer_decay: of discriminative: learning rate of a group over that of the group after it.
        unfreeze_every: of gradual: epochs until one group more learns.

    Raises:
        ValueError: an option is out of range, or is given for a mode that does not have it.
    """

    MODE_OF: ClassVar[dict[str, str]] = {
        "num_stages": "last_stages",
        "layer_decay": "discriminative",
        "unfreeze_every": "gradual",
    }

    mode: Literal["full", "head", "last_stages", "discriminative", "gradual"] = "full"
    num_stages: int = 1
    layer_decay: float = 0.75
    unfreeze_every: int = 1

    def __post_init__(self) -> None:
        require(self.num_stages >= 1, "transfer.num_stages", self.num_stages, "1 or more; mode=head trains no stage")
        require(0 < self.layer_decay <= 1, "transfer.layer_decay", self.layer_decay, "a factor in (0, 1], such as 0.75")
        require(self.unfreeze_every >= 1, "transfer.unfreeze_every", self.unfreeze_every, "1 or more epochs")
        for option, mode in self.MODE_OF.items():
            given, default = getattr(self, option), getattr(TransferSettings, option)
            expected = f"{default}, its default, with mode={self.mode}: only mode={mode} has this option"
            require(self.mode == mode or given == default, f"transfer.{option}", given, expected)


@dataclass(frozen=True)
class PseudoLabelLossSettings:
    """The pseudo-label term ``weight * T^2 * KL`` of a noisy student's loss (Xie et al. 2020).

    Args:
        temperature: T, which softens both distributions; hard pseudo-labels have none.
        weight: of the term; the cross-entropy with the true labels has 1.
        ramp_up: share of the training over which the weight rises linearly from 0; 0 has it from the start.
    """

    temperature: float = 1.0
    weight: float = 1.0
    ramp_up: float = 0.0

    def __post_init__(self) -> None:
        require(self.temperature > 0, "pseudo_labels.temperature", self.temperature, "a temperature above 0, such as 1")
        require(self.weight >= 0, "pseudo_labels.weight", self.weight, "0 (labelled images alone) or more")
        require(0 <= self.ramp_up <= 1, "pseudo_labels.ramp_up", self.ramp_up, "a share of the training in 0..1")


@dataclass(frozen=True)
class MaskLossSettings:
    """The supervised loss of true masks: a weighted sum of three; a weight of 0 leaves one out.

    Args:
        cross_entropy_weight: of the cross-entropy, mean over pixels.
        dice_weight: of the soft Dice loss, mean over classes (Milletari et al. 2016).
        focal_weight: of the focal loss (Lin et al. 2017).
        focal_gamma: its exponent: how little sure pixels count.
        class_weights: of cross-entropy and focal loss, one a class; null has all pixels count alike.
    """

    cross_entropy_weight: float = 1.0
    dice_weight: float = 1.0
    focal_weight: float = 0.0
    focal_gamma: float = 2.0
    class_weights: list[float] | None = None

    def __post_init__(self) -> None:
        weights = ("cross_entropy_weight", "dice_weight", "focal_weight")
        for option in (*weights, "focal_gamma"):
            require(getattr(self, option) >= 0, f"mask_loss.{option}", getattr(self, option), "0 or more")
        largest = max(getattr(self, option) for option in weights)
        require(largest > 0, "mask_loss.cross_entropy_weight", 0, "a weight above 0 for one of the losses at least")
        of_classes = self.class_weights
        expected = "one number a class, 0 or more, not all of them 0"
        valid = of_classes is None or (min(of_classes, default=-1) >= 0 and max(of_classes) > 0)
        require(valid, "mask_loss.class_weights", of_classes, expected)


def require(holds: bool, option: str, given: object, expected: str) -> None:
    """Raise a ``ValueError`` that names the option, what was given and what is expected, unless it holds."""
    if not holds:
        raise ValueError(f"{option}: got {given!r}, expected {expected}")
