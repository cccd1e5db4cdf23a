"""Labelling a pool, from pixels to the table of pseudo-labels, against Lightning's plain float32 ``predict``."""

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from lightning import LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision import transforms

from datamodules.labeled import LabeledDataModule
from datamodules.pseudo_label_columns import TableMetadata
from datamodules.pseudo_label_merging import merge_shards
from datamodules.pseudo_label_writer import PseudoLabelWriter
from datamodules.sources.idx import read_idx_split
from datamodules.sources.in_memory import in_memory_source
from datamodules.sources.mnist import FASHION_CLASSES, FASHION_MNIST_CITATION
from datamodules.unlabeled import UnlabeledDataModule
from experiments.benchmarks.augmentation import FASHION_MNIST, MEAN, STD, PillowDataset, random_pixels
from experiments.benchmarks.pairs import Comparison, compare
from experiments.training import quiet_lightning
from lightning_modules.classification import ClassificationModule
from lightning_modules.inference import Labeler, Precision, prefers_bfloat16
from lightning_modules.networks import Network, create_network
from lightning_modules.settings import OptimizerSettings

NUM_LABELED = 2000
NUM_POOL = 8192
"""Pools have tens of thousands: what a run of ``predict`` costs at any size weighs little there."""

BATCH_SIZE = 256
TRAINING_STEPS = 100
PAIRS = 5
NETWORKS = {"cnn_large": 28, "timm/resnet18": 32}
"""Networks, with the side to which images are padded."""


@dataclass(frozen=True)
class Task:
    """A network and the pool it labels.

    Attributes:
        network: a little trained, so that its labels mean something.
        data: the pool's images.
    """

    network: Network
    data: UnlabeledDataModule


def run() -> list[Comparison]:
    """Compare both networks in float32 and, where the processor has units for it, in bfloat16; takes minutes."""
    quiet_lightning()
    precisions: list[Precision] = ["float32"]
    if prefers_bfloat16(torch.device("cpu")):
        precisions.append("bfloat16")
    tasks = {name: create_task(name, side) for name, side in NETWORKS.items()}
    return [compare_labelling(name, task, precision) for precision in precisions for name, task in tasks.items()]


def compare_labelling(name: str, task: Task, precision: Precision) -> Comparison:
    """Compare the seconds from pixels in memory to a merged table on disk with those to predictions in memory."""
    comparison = compare("", lambda: label(task, precision), lambda: predict_plainly(task), pairs=PAIRS, warmup=1)
    equal = float((label(task, precision) == predict_plainly(task)).double().mean())
    side, threads = NETWORKS[name], torch.get_num_threads()
    what = f"{NUM_POOL} images of {side}×{side} to a table, {name} in {precision}, {threads} threads"
    return replace(comparison, name=f"{what}: Lightning's predict in float32; {equal:.2%} of labels equal")


def label(task: Task, precision: Precision) -> Tensor:
    """Return the labels ``(N,)`` of the pool, in the order of its ids, from a table that is written and merged."""
    pool = task.data.pool
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "table.parquet")
        writer = PseudoLabelWriter(path, TableMetadata("0" * 64, "fashion_mnist", FASHION_CLASSES))
        trainer = create_trainer(callbacks=[writer], use_distributed_sampler=False)
        trainer.predict(Labeler(task.network, precision=precision), task.data, return_predictions=False)
        return merge_shards(writer.shards, path, pool).labels


class PlainPredictor(LightningModule):
    """Returns the probabilities of normalised images, as one writes it without much thought."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def predict_step(self, batch: Tensor, batch_idx: int) -> Any:
        """Return the probabilities ``(N, K)`` of normalised images ``(N, C, H, W)``."""
        return self.body(batch).softmax(dim=1)


def predict_plainly(task: Task) -> Tensor:
    """Return the labels ``(N,)`` of the pool, by a Pillow image at a time and ``Trainer.predict``."""
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((MEAN,), (STD,))])
    pool = task.data.pool
    dataset = PillowDataset(pool.images(torch.arange(len(pool))), transform)
    predictions = create_trainer().predict(
        PlainPredictor(task.network.body), DataLoader(dataset, BATCH_SIZE, num_workers=0)
    )
    assert predictions is not None, "predict returns predictions unless told not to"
    return torch.cat([prediction.argmax(dim=1) for prediction in predictions])  # type: ignore[union-attr]


def create_task(name: str, side: int) -> Task:
    """Return a network after a few steps of training, and the pool, both for images padded to ``side`` pixels."""
    pixels, targets = read_pixels()
    margin = (side - pixels.shape[-1]) // 2
    pixels = F.pad(pixels, (margin,) * 4)
    ends = (NUM_LABELED, NUM_LABELED + NUM_POOL, NUM_LABELED + NUM_POOL + 1000)
    source = in_memory_source(
        "fashion_mnist",
        FASHION_CLASSES,
        FASHION_MNIST_CITATION,
        train=(pixels[: ends[0]], targets[: ends[0]]),
        test=(pixels[ends[1] : ends[2]], targets[ends[1] : ends[2]]),
        unlabeled=pixels[ends[0] : ends[1]],
    )
    labeled = LabeledDataModule(source, steps_per_epoch=TRAINING_STEPS, eval_batch_size=BATCH_SIZE)
    torch.manual_seed(0)
    network = create_network(name, num_classes=10, num_channels=1, mean=(MEAN,), std=(STD,), stem="standard")
    module = ClassificationModule(network, 10, optimizer=OptimizerSettings(lr=1e-3))
    create_trainer(max_epochs=1, limit_val_batches=0).fit(module, labeled)
    return Task(network.eval(), UnlabeledDataModule(labeled))


def read_pixels() -> tuple[Tensor, Tensor]:
    """Return pixels ``(N, 1, 28, 28)`` uint8 and targets ``(N,)`` of Fashion-MNIST, or of noise where it is missing."""
    if FASHION_MNIST.exists():
        pixels, targets = read_idx_split(FASHION_MNIST.parent, "train")
        return pixels.view(-1, 1, 28, 28), targets
    return random_pixels(60_000), torch.arange(60_000) % len(FASHION_CLASSES)


def create_trainer(**options: Any) -> Trainer:
    """Return a trainer on the processor that shows and keeps nothing."""
    return Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
