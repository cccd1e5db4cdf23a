"""Collects what a network says of the test images while it is tested, and keeps it beside the stage's record."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from PIL import Image
from torch import Tensor

from datamodules.batch import Batch
from datamodules.sources.source import Samples
from experiments.prediction_tables import (
    CONFUSION,
    EXAMPLES,
    PREDICTIONS,
    Example,
    Predictions,
    write_confusion,
    write_examples,
    write_predictions,
)
from lightning_modules.segmentation_metrics import PixelConfusion

NUM_EXAMPLES = 8
"""Of each kind."""
LARGEST_SIDE = 256
"""Of an example in pixels; larger images are reduced."""


class PredictionCollector(Callback):
    """Collects the predictions of a test, of all processes; of masks their confusion matrix.

    Args:
        class_names: ``K`` names, in the order of the class indices.
    """

    def __init__(self, class_names: tuple[str, ...]) -> None:
        self.class_names = class_names
        self.predictions: Predictions | None = None
        self.confusion: Tensor | None = None

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget an earlier test."""
        self._parts: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
        self._pixels: PixelConfusion | None = None

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Take the logits that the test step returned."""
        if outputs.ndim == 4:
            self._pixels = self._pixels or PixelConfusion(len(self.class_names)).to(outputs.device)
            self._pixels.update(outputs, batch.targets)
            return
        confidences, labels = outputs.float().softmax(dim=1).max(dim=1)
        self._parts.append((batch.ids.cpu(), batch.targets.cpu(), labels.cpu(), confidences.cpu()))

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Bring together what the processes have."""
        if self._pixels is not None:
            self.confusion = self._pixels.compute().cpu()
            return
        arrays = [torch.cat(parts).numpy() for parts in zip(*self._parts, strict=True)]
        gathered = [arrays] * trainer.world_size
        if trainer.world_size > 1:
            torch.distributed.all_gather_object(gathered, arrays)
        columns = [np.concatenate(parts) for parts in zip(*(each for each in gathered if each), strict=True)]
        order = np.argsort(columns[0], kind="stable")
        ids, targets, labels, confidences = (column[order] for column in columns)
        self.predictions = Predictions(ids, targets, labels, confidences, self.class_names)

    def write(self, directory: Path, samples: Samples) -> None:
        """Write the files of ``prediction_tables``.

        Args:
            directory: of the stage.
            samples: those that were tested, from which examples are read.
        """
        directory.mkdir(parents=True, exist_ok=True)
        if self.predictions is not None:
            write_predictions(directory / PREDICTIONS, self.predictions)
            write_examples(directory / EXAMPLES, choose_examples(self.predictions, samples), self.class_names)
        if self.confusion is not None:
            write_confusion(directory / CONFUSION, self.confusion.numpy(), self.class_names)


def choose_examples(predictions: Predictions, samples: Samples, number: int = NUM_EXAMPLES) -> list[Example]:
    """Return the most confident mistakes, the most confident first, and what the network is least sure of.

    Args:
        predictions: of the samples.
        samples: those that were predicted.
        number: at most so many of each kind.
    """
    mistakes = np.flatnonzero(predictions.known & ~predictions.correct)
    ascending = np.argsort(predictions.confidences, kind="stable")
    worst = mistakes[np.argsort(-predictions.confidences[mistakes], kind="stable")]
    sorter = np.argsort(samples.ids.numpy())
    rows = sorter[np.searchsorted(samples.ids.numpy(), predictions.ids, sorter=sorter)]
    return [
        Example(
            kind,
            int(predictions.ids[place]),
            int(predictions.targets[place]),
            int(predictions.labels[place]),
            float(predictions.confidences[place]),
            png(samples, int(rows[place])),
        )
        for kind, places in (("confident_mistake", worst), ("least_sure", ascending))
        for place in places[:number]
    ]


def png(samples: Samples, index: int) -> bytes:
    """Return a sample's image as the bytes of a PNG file, reduced where it is large."""
    pixels, _ = samples.read(torch.tensor([index]))
    channels = pixels[0].permute(1, 2, 0).numpy()
    image = Image.fromarray(channels[:, :, 0] if channels.shape[2] == 1 else channels)
    image.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
