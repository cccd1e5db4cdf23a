"""What a user may set about a study, with what it does when nothing is said. No torch here: parsing answers at once."""

from dataclasses import dataclass, field, fields
from typing import Literal

from experiments.commands import Command, TrainCommand
from experiments.network_settings import NetworkSettings, TeacherSettings
from experiments.self_train_settings import SelfTrainCommand
from experiments.settings import DataSettings, TrainerSettings
from lightning_modules.settings import DistillationSettings, OptimizerSettings, require

Mode = Literal["scratch", "full", "head", "last_stages", "discriminative", "gradual"]


@dataclass(frozen=True)
class PhaseSettings:
    """One training: its images, its optimizer, its length.

    Args:
        data: the images, and which of them are labelled.
        optimizer: optimizer and schedule.
        trainer: Lightning's Trainer.
    """

    data: DataSettings = field(default_factory=DataSettings)
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    trainer: TrainerSettings = field(default_factory=TrainerSettings)


def pretraining() -> PhaseSettings:
    """Return the default pretraining: classes 0 to 4 with all labels, 200 steps, which is a little less than a pass."""
    data = DataSettings(
        source="fashion_mnist", classes=[0, 1, 2, 3, 4], batch_size=128, steps_per_epoch=100, num_validation=1000
    )
    trainer = TrainerSettings(max_epochs=2, precision="bf16-mixed", enable_progress_bar=False)
    return PhaseSettings(data=data, trainer=trainer)


def transfer() -> PhaseSettings:
    """Return the default transfer: classes 5 to 9, 20 labels each, 200 steps; 20 more of each for validation."""
    data = DataSettings(
        source="fashion_mnist",
        classes=[5, 6, 7, 8, 9],
        labels_per_class=20,
        num_validation=100,
        batch_size=50,
        steps_per_epoch=10,
    )
    trainer = TrainerSettings(max_epochs=20, precision="bf16-mixed", enable_progress_bar=False)
    return PhaseSettings(data=data, trainer=trainer)


@dataclass(frozen=True, kw_only=True)
class TransferRun(TrainCommand):
    """One seed of the transfer study; data, optimizer and trainer are those of the pretraining.

    Args:
        transfer: the training on the other classes.
    """

    transfer: PhaseSettings = field(default_factory=transfer)


@dataclass(frozen=True, kw_only=True)
class TransferStudy:
    """Pretrain on some classes, transfer to others with few labels, in every mode and from scratch.

    Args:
        name: directory of the study, below ``output``; each seed is a run in it.
        output: directory of all runs.
        wandb: ``auto`` is online with a key and a network, else offline.
        seeds: of initial weights, order of batches and labelled subsets; a run each.
        modes: what is compared: from scratch, or transferred in one of the modes.
        model: the network; its transfer settings hold for the modes that take them.
        pretraining: the training on the first classes.
        transfer: the training on the others, the same in every mode.
    """

    name: str = "transfer"
    output: str = "runs"
    wandb: Literal["auto", "online", "offline", "off"] = "off"
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    modes: list[Mode] = field(
        default_factory=lambda: ["scratch", "full", "head", "last_stages", "discriminative", "gradual"]
    )
    model: NetworkSettings = field(default_factory=lambda: NetworkSettings(network="resnet20"))
    pretraining: PhaseSettings = field(default_factory=pretraining)
    transfer: PhaseSettings = field(default_factory=transfer)

    def __post_init__(self) -> None:
        require_distinct("seeds", self.seeds)
        require_distinct("modes", self.modes)

    def run_of(self, seed: int) -> TransferRun:
        """Return the settings of one seed's run."""
        return TransferRun(
            name=f"seed_{seed}",
            output=f"{self.output}/{self.name}",
            seed=seed,
            wandb=self.wandb,
            model=self.model,
            data=self.pretraining.data,
            optimizer=self.pretraining.optimizer,
            trainer=self.pretraining.trainer,
            transfer=self.transfer,
        )


@dataclass(frozen=True, kw_only=True)
class NetworksStudy(Command):
    """Train each network for a short while, distil it from a fixed teacher, and distil a fixed student from it.

    The schedule is ``trainer.max_epochs`` times ``data.steps_per_epoch`` steps, the same for every network.

    Args:
        name: directory of the run, below ``output``; default ``networks-study``.
        only: the networks, ``NAME,...`` or a list; default the featured ones of each family.
        num_test: test images on which accuracies are measured, stratified; null takes all.
        stem: of the networks that are compared: ``auto`` is one for small images where the network has it;
            ``standard`` is the published one, several times faster, and loses detail.
        distill: also distil each network from the teacher, and the student from it; false leaves these two out.
        optimizer: of every training.
        distillation: the loss.
        teacher: from which every network is distilled.
        student: which is distilled from every network.
        num_threads: torch's threads in one operation; null leaves them as they are.
    """

    only: list[str] | str | None = None
    num_test: int | None = None
    stem: Literal["auto", "standard"] = "auto"
    distill: bool = True
    optimizer: OptimizerSettings = field(default_factory=lambda: OptimizerSettings(lr=1e-3, warmup_steps=20))
    distillation: DistillationSettings = field(default_factory=DistillationSettings)
    teacher: TeacherSettings = field(
        default_factory=lambda: TeacherSettings(network="wrn_16_2", max_epochs=3, optimizer=OptimizerSettings())
    )
    student: NetworkSettings = field(default_factory=lambda: NetworkSettings(network="resnet8"))
    num_threads: int | None = None
    wandb: Literal["auto", "online", "offline", "off"] = "off"
    data: DataSettings = field(
        default_factory=lambda: DataSettings(source="fashion_mnist", batch_size=64, steps_per_epoch=200)
    )
    trainer: TrainerSettings = field(
        default_factory=lambda: TrainerSettings(
            max_epochs=1, precision="bf16-mixed", gradient_clip_val=1.0, enable_progress_bar=False
        )
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.num_test is None or self.num_test >= 1, "num_test", self.num_test, "1 or more images, or null")
        require(self.num_threads is None or self.num_threads >= 1, "num_threads", self.num_threads, "1 or more")
        if isinstance(self.only, str):
            object.__setattr__(self, "only", [name.strip() for name in self.only.split(",")])
        if self.only is not None:
            require_distinct("only", self.only)


@dataclass(frozen=True, kw_only=True)
class InterruptionsStudy(SelfTrainCommand):
    """Kill a self-training loop at random moments, and compare how it ends with one that nobody disturbed.

    All other options are those of self-train, whose configuration files can be taken.

    Args:
        name: directory of the study, below ``output``; default ``interruptions``.
        num_kills: kills with signal 9, over as many loops as it takes.
        kill_seed: of the moments.
    """

    num_kills: int = 10
    kill_seed: int = 0
    wandb: Literal["auto", "online", "offline", "off"] = "off"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.num_kills >= 1, "num_kills", self.num_kills, "1 or more")

    @property
    def loop(self) -> dict[str, object]:
        """The options of the loop, but for where it lies."""
        names = {field.name for field in fields(SelfTrainCommand)} - {"name", "output"}
        return {name: value for name, value in vars(self).items() if name in names}


def require_distinct(option: str, values: list[Mode] | list[int] | list[str] | str) -> None:
    """Raise a ``ValueError`` naming the option unless there is a value, and none twice."""
    require(0 < len(values) == len(set(values)), option, values, "one value or more, each once")
