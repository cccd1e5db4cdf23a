"""Writing pseudo-labels while predicting: one shard a process, streamed to disk."""

import uuid
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter
from torch import Tensor

from datamodules.batch import Batch
from datamodules.parquet_file import ParquetFile
from datamodules.pseudo_label_columns import TableMetadata, are_distributions, probability_array, shard_schema
from datamodules.pseudo_mask_files import MASKS, file_names, write_pseudo_masks


class PseudoLabelWriter(BasePredictionWriter):
    """Streams what ``trainer.predict(..., return_predictions=False)`` predicts to one shard a process.

    The shards lie beside the table to be, in a folder that carries a token of this run, so those of another run are
    never taken for them. A shard has its name only once it is whole. When ``predict`` has returned, all processes
    have finished theirs; ``merge_shards`` then makes the table.

    Args:
        path: the table to be.
        metadata: where it comes from.

    Raises:
        ValueError: while predicting, if a prediction is no ``(n, K)`` probabilities.
    """

    def __init__(self, path: Path, metadata: TableMetadata) -> None:
        super().__init__(write_interval="batch")
        self.path = path
        self.metadata = metadata
        self.token = uuid.uuid4().hex
        self._shard: ParquetFile | None = None

    @property
    def shards(self) -> Path:
        """The folder of this run's shards."""
        return self.path.with_name(f".{self.path.name}.shards-{self.token}")

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Agree on the folder, and open this process's shard there."""
        super().setup(trainer, pl_module, stage)
        if stage != "predict":
            return
        # Lightning looks for positions in its own batch sampler; the ids that are written come with the batch.
        warnings.filterwarnings("ignore", "Couldn't infer the batch indices")
        self.token = trainer.strategy.broadcast(self.token)
        self.open(trainer.global_rank, trainer.world_size)

    def write_on_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        prediction: Any,
        batch_indices: Sequence[int] | None,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Append the probabilities ``(n, K)`` of a batch."""
        self.append(batch.ids, prediction)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Finish the shard, and wait until all processes have finished theirs."""
        self.finish()
        trainer.strategy.barrier()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Discard the shard: it lacks samples."""
        self.discard()

    def open(self, process: int, num_processes: int) -> None:
        """Start the shard of one process."""
        self.shards.mkdir(parents=True, exist_ok=True)
        name = f"{process:05d}-of-{num_processes:05d}.parquet"
        self._shard = ParquetFile(self.shards / name, shard_schema(self.metadata))

    def append(self, ids: Tensor, probabilities: Tensor) -> None:
        """Write the samples ``ids (n,)`` with their ``probabilities (n, K)`` to disk."""
        import pyarrow as pa

        assert self._shard is not None, "no shard is open; setup opens it when predicting starts"
        require_predictions(ids, probabilities, len(self.metadata.class_names))
        arrays = [pa.array(ids.cpu().numpy()), probability_array(probabilities.float().cpu())]
        self._shard.append(pa.RecordBatch.from_arrays(arrays, schema=shard_schema(self.metadata)))

    def finish(self) -> None:
        """Give the shard its name: it is whole."""
        assert self._shard is not None, "no shard is open; setup opens it when predicting starts"
        shard, self._shard = self._shard, None
        shard.finish()

    def discard(self) -> None:
        """Remove the shard unless it is finished."""
        if self._shard is not None:
            self._shard.discard()
            self._shard = None


class PseudoMaskWriter(PseudoLabelWriter):
    """Streams predictions of every pixel: masks and confidences to files, their means over an image to the shard.

    Args:
        path: the table to be.
        metadata: where it comes from.

    Raises:
        ValueError: while predicting, if a prediction is no ``(n, K, H, W)`` probabilities.
    """

    def __init__(self, path: Path, metadata: TableMetadata) -> None:
        super().__init__(path, metadata)
        self._written: list[int] = []

    def open(self, process: int, num_processes: int) -> None:
        """Start the shard of one process, and the folder that all processes put masks in."""
        super().open(process, num_processes)
        (self.shards / MASKS).mkdir(exist_ok=True)

    def append(self, ids: Tensor, probabilities: Tensor) -> None:
        """Write the images ``ids (n,)`` with the ``probabilities (n, K, H, W)`` of their pixels to disk."""
        num_classes = len(self.metadata.class_names)
        if probabilities.ndim != 4 or probabilities.shape[:2] != (len(ids), num_classes):
            raise ValueError(
                f"teacher: its predictions are {tuple(probabilities.shape)}, expected probabilities of every pixel, "
                f"({len(ids)}, {num_classes}, height, width); label with a segmentation network of the same classes as "
                "the data"
            )
        super().append(ids, probabilities.float().mean(dim=(2, 3)))
        self._written += ids.tolist()
        write_pseudo_masks(self.shards / MASKS, ids, probabilities)

    def discard(self) -> None:
        """Remove the shard and the files of its images unless it is finished."""
        if self._shard is not None:
            for name in (name for number in self._written for name in file_names(number)):
                (self.shards / MASKS / name).unlink(missing_ok=True)
        super().discard()


def require_predictions(ids: Tensor, probabilities: Tensor, num_classes: int) -> None:
    """Raise a ``ValueError`` unless there is a distribution ``probabilities (n, K)`` for each of ``ids (n,)``."""
    expected = (len(ids), num_classes)
    if tuple(probabilities.shape) != expected:
        raise ValueError(
            f"teacher: its predictions are {tuple(probabilities.shape)}, expected probabilities {expected}, a row an "
            "image and a column a class; label with a teacher of the same classes as the data"
        )
    valid = are_distributions(probabilities.float())
    if not valid.all():
        bad = ids[~valid]
        raise ValueError(
            f"teacher: its predictions for {len(bad)} of {len(ids)} images of a batch are NaN or do not sum to 1, the "
            f"first being id {int(bad[0])}; expected probabilities: predict_step must return the softmax; if that is "
            "NaN, train the teacher again with a lower optimizer.lr"
        )
