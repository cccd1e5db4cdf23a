"""Unlabelled images beside labelled ones."""

import torch
from lightning.pytorch.utilities import CombinedLoader
from torch.utils.data import DataLoader

from datamodules.batch import Batch, PixelBatch, make_batch
from datamodules.labeled import LabeledDataModule, require_counts, start_epoch
from datamodules.loaders import stream_loader
from datamodules.sources.source import IGNORE_INDEX
from datamodules.two_streams import TwoStreamDataModule
from datamodules.views import Mixing, View


class UnlabeledDataModule(TwoStreamDataModule):
    """A stream of labelled batches and one of unlabelled batches, side by side.

    A training batch is ``{"labeled": Batch, "unlabeled": Batch}``; the targets of the second are -1, in masks 255 where
    the view has padded the image. Validation and test are those of the labelled data.

    Args:
        labeled: the labelled data, whose ``pool`` is the unlabelled data.
        batch_size: unlabelled samples of a training step, over all processes together.
        view: makes the views of the unlabelled images; default: that of the labelled ones.
        steps_per_epoch: training batches of an epoch; ``None`` passes about once over the pool.

    Raises:
        ValueError: there is no pool.
    """

    def __init__(
        self,
        labeled: LabeledDataModule,
        *,
        batch_size: int = 64,
        view: View | None = None,
        steps_per_epoch: int | None = None,
    ) -> None:
        require_counts(unlabeled_batch_size=batch_size, steps_per_epoch=steps_per_epoch)
        if labeled.pool is None:
            raise no_pool(labeled, "which leaves the other samples unlabelled, or a source with unlabelled images")
        super().__init__(labeled, batch_size)
        self.pool = labeled.pool.without_targets()
        self.views = {"labeled": labeled.view, "unlabeled": view or labeled.view}
        self.steps_per_epoch = steps_per_epoch or max(1, len(self.pool) // batch_size)

    @property
    def num_images(self) -> dict[str, int]:
        """Number of images with labels, without, for validation, for tests."""
        return self.labeled.num_images | {"unlabeled": len(self.pool)}

    def train_dataloader(self) -> CombinedLoader:
        """Return both streams, with as many batches."""
        epoch = start_epoch(self)
        unlabeled = stream_loader(
            self.pool,
            batch_size=self.batch_size,
            num_batches=self.steps_per_epoch,
            seed=self.labeled.seed,
            epoch=epoch,
            num_workers=self.labeled.num_workers,
        )
        labeled = self.labeled.labeled_stream(self.steps_per_epoch, epoch)
        return CombinedLoader({"labeled": labeled, "unlabeled": unlabeled}, mode="min_size")

    def predict_dataloader(self) -> DataLoader[PixelBatch]:
        """Return the unlabelled samples, each once, in order, un-augmented."""
        return self.labeled.eval_dataloader(self.pool)

    def on_after_batch_transfer(
        self, batch: PixelBatch | dict[str, PixelBatch], dataloader_idx: int
    ) -> Batch | dict[str, Batch]:
        """Make the views, on the device where the pixels are."""
        if isinstance(batch, PixelBatch):
            return self.labeled.on_after_batch_transfer(batch, dataloader_idx)
        makers = {"labeled": make_batch, "unlabeled": make_unlabeled}
        return {name: makers[name](pixels, self.views[name], self.labeled.mixing) for name, pixels in batch.items()}


def make_unlabeled(pixels: PixelBatch, view: View, mixing: Mixing | None = None) -> Batch:
    """Return an unlabelled training batch as ``make_batch`` does, whose masks are -1 where there is an image.

    Where the view has padded it they stay 255: nothing is to be learned there.
    """
    if pixels.targets.ndim < 3:
        return make_batch(pixels, view, mixing)
    batch = make_batch(pixels._replace(targets=torch.zeros_like(pixels.targets)), view, mixing)
    return batch._replace(targets=batch.targets.masked_fill(batch.targets != IGNORE_INDEX, -1))


def no_pool(labeled: LabeledDataModule, purpose: str) -> ValueError:
    """Return the error of labelled data without a pool, with which ``purpose`` cannot be served."""
    name = labeled.source.name
    if labeled.targets_are_masks:
        return ValueError(
            f"data.num_labeled: got all {len(labeled.train)} training images of {name}, so every mask is known; "
            f"expected fewer, here or by data.labeled_fraction, {purpose}"
        )
    return ValueError(
        f"data.labels_per_class: got None, so every sample of {name} is labelled; expected a number of labels per "
        f"class, {purpose}"
    )
