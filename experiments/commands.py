"""The commands: what each of them lets a user set. No torch here: parsing answers at once."""

from dataclasses import dataclass, field
from typing import Literal

from experiments.network_settings import NetworkSettings, TeacherSettings
from experiments.pseudo_label_settings import SelectionSettings
from experiments.settings import DataSettings, TrainerSettings
from lightning_modules.settings import DistillationSettings, MaskLossSettings, OptimizerSettings, require


@dataclass(frozen=True, kw_only=True)
class DataCommand:
    """What every command has that looks at images.

    Args:
        seed: of initial weights, order of batches, views and dropout.
        data: the images, and which of them are labelled.
        trainer: Lightning's Trainer.
    """

    seed: int = 0
    data: DataSettings = field(default_factory=DataSettings)
    trainer: TrainerSettings = field(default_factory=TrainerSettings)

    def __post_init__(self) -> None:
        require(self.seed >= 0, "seed", self.seed, "0 or more")


@dataclass(frozen=True, kw_only=True)
class Command(DataCommand):
    """What every command has that leaves a run's directory.

    Args:
        name: directory of the run, below ``output``; default the command's name.
        output: directory of all runs.
        wandb: ``auto`` is online with a key and a network, else offline.
        wandb_checkpoints: log the best and the last checkpoint of each stage as artifacts.
        report: write report.html and report.md when the run ends.
    """

    name: str | None = None
    output: str = "runs"
    wandb: Literal["auto", "online", "offline", "off"] = "auto"
    wandb_checkpoints: bool = True
    report: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        is_name = self.name is None or (self.name not in ("", ".", "..") and "/" not in self.name)
        require(is_name, "name", self.name, "a directory name without '/'; --output says where it lies")


@dataclass(frozen=True, kw_only=True)
class TrainCommand(Command):
    """Train one network on labelled images.

    Args:
        model: the network.
        optimizer: optimizer and schedule.
        label_smoothing: mass spread evenly over the classes.
        table: also learn from this pseudo-label table of the pool, whoever made it.
        pseudo_labels: which labels of the table are taught, and how much they weigh.
    """

    model: NetworkSettings = field(default_factory=NetworkSettings)
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    label_smoothing: float = 0.0
    table: str | None = None
    pseudo_labels: SelectionSettings = field(default_factory=SelectionSettings)


@dataclass(frozen=True, kw_only=True)
class SegmentCommand(Command):
    """Train one network on images with masks; draw what it finds.

    Args:
        data: the images, and which of them have masks.
        model: the network.
        optimizer: optimizer and schedule.
        mask_loss: the supervised loss.
        boundary: also measure the F1 of the boundaries, which takes longer.
        table: also learn from this table of pseudo-masks of the pool, whoever made it.
        pseudo_labels: which pixels of the pseudo-masks are taught, and how much they weigh.
        num_examples: images of each picture.
    """

    data: DataSettings = field(default_factory=lambda: DataSettings(source="digit_scenes", batch_size=32))
    model: NetworkSettings = field(default_factory=lambda: NetworkSettings(network="unet"))
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    mask_loss: MaskLossSettings = field(default_factory=MaskLossSettings)
    boundary: bool = False
    table: str | None = None
    pseudo_labels: SelectionSettings = field(default_factory=lambda: SelectionSettings(labels="hard"))
    num_examples: int = 6

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.num_examples >= 1, "num_examples", self.num_examples, "1 or more")


@dataclass(frozen=True, kw_only=True)
class DistillCommand(Command):
    """Train a teacher, a student alone and the same student distilled; print what distillation gained.

    Args:
        teacher: the network that teaches, trained on all labels unless it comes from elsewhere.
        student: the network that learns.
        distillation: the loss.
        mask_loss: the supervised loss where the targets are masks.
        optimizer: the students' optimizer and schedule.
        student_all_labels: also train the student alone on all labels, for comparison.
        table: a pseudo-label table of the pool, whoever made it, in the teacher's place.
        pseudo_labels: which labels of the table are taught, and how much they weigh.
    """

    teacher: TeacherSettings = field(default_factory=TeacherSettings)
    student: NetworkSettings = field(default_factory=NetworkSettings)
    distillation: DistillationSettings = field(default_factory=DistillationSettings)
    mask_loss: MaskLossSettings = field(default_factory=MaskLossSettings)
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    student_all_labels: bool = True
    table: str | None = None
    pseudo_labels: SelectionSettings = field(default_factory=SelectionSettings)


@dataclass(frozen=True, kw_only=True)
class PseudoLabelCommand(DataCommand):
    """Label a source's pool with a checkpoint; ``train`` takes the table.

    Args:
        checkpoint: one of our checkpoints.
        output: the table that is written.
        seed: of the split, unless data.split_seed says it.
        data: the images, and which of them are labelled and so not in the pool.
        trainer: Lightning's Trainer.
        flip: average the probabilities over each image and its mirror image.
        precision: of the arithmetic; ``auto`` takes bfloat16 where the device is fast at it.
    """

    checkpoint: str
    output: str = "pseudo_labels.parquet"
    flip: bool = False
    precision: Literal["auto", "float32", "bfloat16"] = "auto"


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
