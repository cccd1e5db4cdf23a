"""What a user may set about a network, as the command line and YAML files have it. No torch here."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from lightning_modules.settings import OptimizerSettings, TransferSettings, require

RATES = ("drop_rate", "drop_path_rate")
FROZEN_FOR_GOOD = ("head", "last_stages")
"""Modes of transfer in which the backbone keeps the weights that it starts with."""
OPTIONS_OF_THEIR_OWN = {"network", "pretrained", "checkpoint", "input_size", "stem"}
SAID_BY_OTHERS = {"name", "num_classes", "num_channels", "image_size", "mean", "std"}
"""Arguments of ``create_network`` that the option ``network``, the images or the checkpoint say."""


@dataclass(frozen=True)
class NetworkSettings:
    """A network by name.

    Args:
        network: a name that the command ``networks`` lists; null takes that of the checkpoint, else ``cnn_small``.
        pretrained: start from the published weights.
        checkpoint: start from these weights: one of our checkpoints, which keeps its normalisation and its options, or
            a state dictionary of ``network`` (.safetensors, .pth, .pt). A head of other classes is replaced.
        ignore_keys: how keys begin, ``KEY,...`` or a list, that are neither read from the checkpoint nor missed in it.
        transfer: which layers learn.
        input_size: side to which images are resized first; null takes them as they come.
        stem: ``small`` keeps the side of small images, ``standard`` is the published one; ``auto`` decides by the side.
        drop_rate: dropout as the network has it, mostly before the classifier; null takes the network's own.
        drop_path_rate: stochastic depth of residual blocks; null takes the network's own.
        options: further arguments of the network, such as ``{width_multiplier: 0.5}``.
    """

    DEFAULT: ClassVar[str] = "cnn_small"

    network: str | None = None
    pretrained: bool = False
    checkpoint: str | None = None
    ignore_keys: list[str] | str = field(default_factory=list)
    transfer: TransferSettings = field(default_factory=TransferSettings)
    input_size: int | None = None
    stem: Literal["auto", "standard", "small"] = "auto"
    drop_rate: float | None = None
    drop_path_rate: float | None = None
    options: dict[str, bool | int | float | str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require(
            self.input_size is None or self.input_size >= 1, "input_size", self.input_size, "a side of 1 or more pixels"
        )
        for option in RATES:
            value = getattr(self, option)
            require(value is None or 0 <= value < 1, option, value, "a probability in [0, 1), or null")
            twice = value is not None and option in self.options
            require(not twice, f"options.{option}", self.options.get(option), f"it once: {option} is given too")
        require(
            not (self.pretrained and self.checkpoint),
            "pretrained",
            self.pretrained,
            "false together with a checkpoint: weights come from one place",
        )
        taken = sorted(self.options.keys() & OPTIONS_OF_THEIR_OWN)
        require(not taken, "options", taken, f"them outside of options: {', '.join(taken)}")
        said = sorted(self.options.keys() & SAID_BY_OTHERS)
        require(not said, "options", said, "none of these: the images, the network and its checkpoint say them")
        self._require_weights()

    def _require_weights(self) -> None:
        """Raise a ``ValueError`` where an option needs weights to start from, and there are none."""
        given = self.ignore_keys
        keys = [key.strip() for key in given.split(",")] if isinstance(given, str) else given
        require(all(keys), "ignore_keys", given, "beginnings of keys; an empty one would ignore them all")
        require(
            not keys or self.checkpoint is not None, "ignore_keys", given, "none without a checkpoint; give checkpoint"
        )
        object.__setattr__(self, "ignore_keys", keys)
        mode, starts = self.transfer.mode, self.pretrained or self.checkpoint is not None
        require(
            starts or mode not in FROZEN_FOR_GOOD,
            "transfer.mode",
            mode,
            "full without checkpoint or pretrained: frozen layers would keep random weights; give one of them",
        )

    @property
    def name(self) -> str:
        """The network's name where no checkpoint says it."""
        return self.network or self.DEFAULT


@dataclass(frozen=True)
class TeacherSettings(NetworkSettings):
    """The network that teaches.

    Args:
        network: a name that the command ``networks`` lists; null takes that of the checkpoint, else ``cnn_large``.
        pretrained: start from the published weights.
        checkpoint: one of our checkpoints, or a state dictionary of ``network`` (.safetensors, .pth, .pt); the teacher
            is then taken from it as it is and not trained.
        ignore_keys: how the checkpoint's surplus keys begin, which are not read, ``KEY,...`` or a list.
        transfer: which layers learn where the teacher is trained.
        train: train the teacher first; false takes it as its checkpoint or its published weights have it.
        max_epochs: epochs of the teacher; null takes those of the trainer.
        optimizer: the teacher's optimizer and schedule.
        ema_decay: validate and keep the moving average of its weights, with this decay a step; null: none.
    """

    DEFAULT: ClassVar[str] = "cnn_large"

    train: bool = True
    max_epochs: int | None = None
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    ema_decay: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        require_decay("teacher.ema_decay", self.ema_decay)
        require(
            self.max_epochs is None or self.max_epochs >= 1, "teacher.max_epochs", self.max_epochs, "1 or more, or null"
        )
        require(
            self.train or self.pretrained or self.checkpoint is not None,
            "teacher.train",
            self.train,
            "true, unless teacher.checkpoint or teacher.pretrained says where a trained teacher comes from",
        )
        require(
            (self.train and self.checkpoint is None) or self.transfer.mode == "full",
            "teacher.transfer.mode",
            self.transfer.mode,
            "full: this teacher is not trained; to adapt a checkpoint, use the command train and give what it writes",
        )


def require_decay(option: str, decay: float | None) -> None:
    """Raise a ``ValueError`` unless a decay of moving averages lies in (0, 1), or is ``None``."""
    require(decay is None or 0 < decay < 1, option, decay, "a decay in (0, 1), such as 0.999, or null")
