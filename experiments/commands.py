"""The commands: what each of them lets a user set. No torch here: parsing answers at once."""

from dataclasses import dataclass, field
from typing import Literal

from experiments.network_settings import NetworkSettings, TeacherSettings
from experiments.settings import DataSettings, TrainerSettings
from lightning_modules.settings import DistillationSettings, OptimizerSettings, require


@dataclass(frozen=True, kw_only=True)
class Command:
    """What every command has.

    Args:
        name: directory of the run, below ``output``; default the command's name.
        output: directory of all runs.
        seed: of initial weights, order of batches, views and dropout.
        wandb: ``auto`` is online with a key and a network, else offline.
        data: the images, and which of them are labelled.
        trainer: Lightning's Trainer.
    """

    name: str | None = None
    output: str = "runs"
    seed: int = 0
    wandb: Literal["auto", "online", "offline", "off"] = "auto"
    data: DataSettings = field(default_factory=DataSettings)
    trainer: TrainerSettings = field(default_factory=TrainerSettings)

    def __post_init__(self) -> None:
        require(self.seed >= 0, "seed", self.seed, "0 or more")
        is_name = self.name is None or (self.name not in ("", ".", "..") and "/" not in self.name)
        require(is_name, "name", self.name, "a directory name without '/'; --output says where it lies")


@dataclass(frozen=True, kw_only=True)
class TrainCommand(Command):
    """Train one network on labelled images.

    Args:
        model: the network.
        optimizer: optimizer and schedule.
        label_smoothing: mass spread evenly over the classes.
    """

    model: NetworkSettings = field(default_factory=NetworkSettings)
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    label_smoothing: float = 0.0


@dataclass(frozen=True, kw_only=True)
class DistillCommand(Command):
    """Train a teacher, a student alone and the same student distilled; print what distillation gained.

    Args:
        teacher: the network that teaches, trained on all labels unless it comes from elsewhere.
        student: the network that learns.
        distillation: the loss.
        optimizer: the students' optimizer and schedule.
        student_all_labels: also train the student alone on all labels, for comparison.
    """

    teacher: TeacherSettings = field(default_factory=TeacherSettings)
    student: NetworkSettings = field(default_factory=NetworkSettings)
    distillation: DistillationSettings = field(default_factory=DistillationSettings)
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    student_all_labels: bool = True


@dataclass(frozen=True, kw_only=True)
class InspectDataCommand(Command):
    """Draw original, weak and strong views of a source as a contact sheet.

    Args:
        num_samples: rows of the sheet.
    """

    num_samples: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.num_samples >= 1, "num_samples", self.num_samples, "1 or more")


@dataclass(frozen=True, kw_only=True)
class EvaluateCommand(Command):
    """Evaluate a checkpoint on validation and test.

    Args:
        checkpoint: one of our checkpoints.
        knn: also classify by the nearest neighbours, among the labelled training images, of the network's features.
        knn_neighbors: how many of them vote; with fewer images, all do.
        knn_temperature: of the votes' weights exp(cosine similarity / temperature) (Wu et al. 2018).
    """

    checkpoint: str
    knn: bool = False
    knn_neighbors: int = 200
    knn_temperature: float = 0.07

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.knn_neighbors >= 1, "knn_neighbors", self.knn_neighbors, "1 or more neighbours")
        require(self.knn_temperature > 0, "knn_temperature", self.knn_temperature, "a number above 0, such as 0.07")


@dataclass(frozen=True, kw_only=True)
class NetworksCommand:
    """List networks: name, parameters, input size, where from.

    Args:
        filter: names that are listed, with * and ?, such as '*res*'; default a choice of each family.
        num_classes: for how many classes parameters are counted.
        num_channels: for how many channels of the images.
    """

    filter: str | None = None
    num_classes: int = 1000
    num_channels: int = 3

    def __post_init__(self) -> None:
        require(self.filter != "", "filter", self.filter, "a pattern such as '*res*', or '*' for all")
        require(self.num_classes >= 1, "num_classes", self.num_classes, "1 or more")
        require(self.num_channels >= 1, "num_channels", self.num_channels, "1 or more")
