"""Labelled images: training, validation and test splits that never mix."""

import torch
from lightning import LightningDataModule
from torch.utils.data import DataLoader

from datamodules.batch import Batch, PixelBatch, make_batch
from datamodules.loaders import ordered_loader, stream_loader
from datamodules.sources.source import Samples, Source
from datamodules.splits import labeled_subset, stratified_subset
from datamodules.views import Mixing, View, create_policy

DEFAULT_VALIDATION_SHARE = 0.1


class LabeledDataModule(LightningDataModule):
    """Labelled training images, and the validation and test splits beside them.

    Args:
        source: where the images come from.
        batch_size: samples of a training step, over all processes together.
        labels_per_class: keep the labels of so many samples of each class; the others become the unlabelled
            ``pool``. ``None`` keeps all.
        num_validation: samples set aside for validation, stratified; ``None`` takes the source's own validation
            split, else a tenth of the training split.
        split_seed: chooses the validation samples and the labelled subset.
        seed: orders the batches and makes the views.
        view: makes the training views; default: the images as they are.
        mixing: mixes the pairs of a training batch (MixUp, CutMix); targets are then ``(N, K)``.
        steps_per_epoch: training batches of an epoch; ``None`` passes about once over the labelled samples.
        eval_batch_size: samples of an evaluation step, a process.
        num_workers: loader processes; 0 is fastest for sources in memory.

    Attributes:
        train: the labelled samples (with ``labels_per_class``, that subset).
        validation: the validation samples.
        test: the source's test split.
        pool: unlabelled samples, or ``None``; their ``targets`` hold the hidden truth, for audits alone.

    Raises:
        ValueError: a number that does not fit the source, or a source whose targets are masks.
    """

    targets_are_masks = False
    """Whether targets are masks, as in ``SegmentationDataModule``."""

    def __init__(
        self,
        source: Source,
        *,
        batch_size: int = 64,
        labels_per_class: int | None = None,
        num_validation: int | None = None,
        split_seed: int = 0,
        seed: int = 0,
        view: View | None = None,
        mixing: Mixing | None = None,
        steps_per_epoch: int | None = None,
        eval_batch_size: int = 256,
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        require_counts(batch_size=batch_size, steps_per_epoch=steps_per_epoch, eval_batch_size=eval_batch_size)
        require_kind(source, self.targets_are_masks)
        self.source = source
        self.batch_size = batch_size
        self.seed = seed
        self.split_seed = split_seed
        self.view = view or View(create_policy("none"), seed)
        self.mixing = mixing
        self.eval_batch_size = eval_batch_size
        self.num_workers = num_workers

        train, self.validation = split_validation(source, num_validation, split_seed)
        self.train, self.pool = split_labeled(train, labels_per_class, split_seed, source.num_classes)
        self.pool = self.pool or source.unlabeled
        self.test = source.test
        self.steps_per_epoch = steps_per_epoch or max(1, len(self.train) // batch_size)

    @property
    def split(self) -> dict[str, object]:
        """What decides which samples are trained on, validated on and tested on."""
        return {
            "source": self.source.fingerprint,
            "num_validation": len(self.validation),
            "split_seed": self.split_seed,
        }

    @property
    def num_images(self) -> dict[str, int]:
        """Number of images with labels to train on, for validation, for tests."""
        return {"labeled": len(self.train), "validation": len(self.validation), "test": len(self.test)}

    @property
    def images_per_step(self) -> int:
        """Images of a training batch, over all processes together."""
        return self.batch_size

    @property
    def num_classes(self) -> int:
        """Number of classes ``K``."""
        return self.source.num_classes

    @property
    def class_names(self) -> tuple[str, ...]:
        """``K`` names, in the order of the class indices."""
        return self.source.class_names

    def train_dataloader(self) -> DataLoader[PixelBatch]:
        """Return the stream of labelled training batches."""
        return self.labeled_stream(self.steps_per_epoch, start_epoch(self))

    def labeled_stream(self, num_batches: int, epoch: int) -> DataLoader[PixelBatch]:
        """Return the labelled batches of one epoch; streams beside it may ask for as many as they have."""
        return stream_loader(
            self.train,
            batch_size=self.batch_size,
            num_batches=num_batches,
            seed=self.seed,
            epoch=epoch,
            num_workers=self.num_workers,
        )

    def val_dataloader(self) -> DataLoader[PixelBatch]:
        """Return the validation samples, each once."""
        return self.eval_dataloader(self.validation)

    def test_dataloader(self) -> DataLoader[PixelBatch]:
        """Return the test samples, each once."""
        return self.eval_dataloader(self.test)

    def eval_dataloader(self, samples: Samples) -> DataLoader[PixelBatch]:
        """Return a loader that gives each of ``samples`` once, un-augmented."""
        return ordered_loader(samples, batch_size=self.eval_batch_size, num_workers=self.num_workers)

    def on_after_batch_transfer(self, batch: PixelBatch, dataloader_idx: int) -> Batch:
        """Make the views, on the device where the pixels are."""
        return make_batch(batch, self.view, self.mixing)


def start_epoch(data: LightningDataModule) -> int:
    """Return the epoch at which the training of a datamodule's trainer starts or resumes."""
    return data.trainer.current_epoch if data.trainer is not None else 0


def split_validation(source: Source, num_validation: int | None, split_seed: int) -> tuple[Samples, Samples]:
    """Return training and validation samples; no sample is in both."""
    if num_validation is None and source.validation is not None:
        return source.train, source.validation
    train = source.train
    if num_validation is None:
        num_validation = round(DEFAULT_VALIDATION_SHARE * len(train))
    if not 1 <= num_validation < len(train):
        raise ValueError(
            f"data.num_validation: got {num_validation}, expected 1 to {len(train) - 1}: "
            f"{source.name} has {len(train)} training samples"
        )
    chosen = torch.zeros(len(train), dtype=torch.bool)
    chosen[stratified_subset(train.targets, train.ids, num_validation, split_seed)] = True
    return select_mask(train, ~chosen), select_mask(train, chosen)


def split_labeled(
    train: Samples, labels_per_class: int | None, split_seed: int, num_classes: int
) -> tuple[Samples, Samples | None]:
    """Return the labelled samples and the pool of all others."""
    if labels_per_class is None:
        return train, None
    chosen = torch.zeros(len(train), dtype=torch.bool)
    chosen[labeled_subset(train.targets, train.ids, labels_per_class, split_seed, num_classes)] = True
    if chosen.all():
        return train, None
    return select_mask(train, chosen), select_mask(train, ~chosen)


def select_mask(samples: Samples, mask: torch.Tensor) -> Samples:
    """Return the samples where ``mask (N,)`` is true."""
    return samples.select(mask.nonzero().squeeze(1))


def require_kind(source: Source, masks: bool) -> None:
    """Raise a ``ValueError`` unless the source's targets are masks, or classes, as wanted."""
    if (source.train.masks is not None) != masks:
        given, wanted = ("classes", "masks") if masks else ("masks", "classes")
        raise ValueError(
            f"data.source: got {source.name}, whose targets are {given}, expected a source of images with {wanted}; "
            f"choose another source, or {'classify' if masks else 'segment'} this one"
        )


def require_counts(**counts: int | None) -> None:
    """Raise a ``ValueError`` naming the option unless every count given is at least 1."""
    for option, value in counts.items():
        if value is not None and value < 1:
            raise ValueError(f"data.{option}: got {value}, expected 1 or more")
