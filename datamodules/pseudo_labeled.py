"""Pseudo-labelled images beside labelled ones."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities import CombinedLoader
from torch import Tensor

from datamodules.alignment import align_table
from datamodules.batch import Batch, PixelBatch, make_batch
from datamodules.labeled import LabeledDataModule, require_counts, start_epoch
from datamodules.loaders import Request, SampleDataset, StreamSampler, create_loader
from datamodules.pseudo_labels import PseudoLabels
from datamodules.pseudo_masks import TaughtMasks, count_pixels, open_masks, require_mask_options, select_pixels
from datamodules.selection import Labels, Selection, select
from datamodules.sources.source import MaskReader, Samples
from datamodules.two_streams import TwoStreamDataModule
from datamodules.unlabeled import no_pool
from datamodules.views import Mixing, View

EXAMPLES = 3


class PseudoLabeledDataModule(TwoStreamDataModule):
    """A stream of labelled batches and one of pseudo-labelled batches, side by side.

    A training batch is ``{"labeled": Batch, "pseudo_labeled": Batch}``; the targets of the second are a teacher's:
    ``(N, K)`` float32 probabilities or ``(N,)`` int64 labels, or masks ``(N, H, W)`` int64, 255 where a pixel is not
    taught. The pool's true labels are never looked at. Validation and test are those of the labelled data.

    Args:
        labeled: the labelled data, whose ``pool`` has the images of the table.
        table: the pseudo-labels, or the file that holds them.
        pseudo_labeled_ratio: pseudo-labelled samples for each labelled one in a training step.
        confidence_threshold: least confidence of what is taught, an image or a pixel, in 0..1; or one a class.
        balance: as many rows of every class, see ``select``; of masks, as large a share of every class's pixels, see
            ``select_pixels``.
        max_per_class: most rows of a class; not for masks.
        labels: soft or hard; hard for masks.
        align: first bring the classes' shares among the pseudo-labels to those of the labelled images, see
            ``align_table``; not for masks.
        view: makes the views of the pseudo-labelled images; default: that of the labelled ones.
        mixing: mixes pairs of them, with their pseudo-labels (MixUp, CutMix); default: none is mixed.
        steps_per_epoch: training batches of an epoch; ``None`` passes about once over the pseudo-labelled rows.
        teacher_digest: SHA-256 of the weights of the teacher that the table must be of; ``None`` takes any.

    Attributes:
        selection: what is taught; of masks a ``MaskSelection``.
        pseudo_labeled: its samples, in the selection's order.

    Raises:
        ValueError: there is no pool, the table is of another source, pool or teacher, or nothing can be selected.
    """

    def __init__(
        self,
        labeled: LabeledDataModule,
        table: PseudoLabels | Path,
        *,
        pseudo_labeled_ratio: float = 1.0,
        confidence_threshold: float | Sequence[float] = 0.0,
        balance: bool = False,
        max_per_class: int | None = None,
        labels: Labels = "soft",
        align: bool = False,
        view: View | None = None,
        mixing: Mixing | None = None,
        steps_per_epoch: int | None = None,
        teacher_digest: str | None = None,
    ) -> None:
        require_counts(steps_per_epoch=steps_per_epoch)
        name = str(table) if isinstance(table, Path) else "pseudo-label table"
        table = PseudoLabels.read(table) if isinstance(table, Path) else table
        require_origin(name, table, labeled, teacher_digest)
        super().__init__(labeled, pseudo_labeled_batch_size(labeled.batch_size, pseudo_labeled_ratio))
        pool = pool_of(labeled)
        samples = pool.select(find_rows(name, pool, table.ids))
        if labeled.targets_are_masks:
            require_mask_options(labels, max_per_class, align)
        elif align:
            table = align_table(table, labeled)
        self.selection, masks = choose(
            table,
            samples,
            confidence_threshold=confidence_threshold,
            balance=balance,
            max_per_class=max_per_class,
            labels=labels,
        )
        taught = samples.select(torch.searchsorted(table.ids, self.selection.ids))
        self.pseudo_labeled = replace(taught, targets=self.selection.targets, masks=masks)
        self.view = view or labeled.view
        self.mixing = mixing
        self.steps_per_epoch = steps_per_epoch or max(1, len(self.selection) // self.batch_size)

    @property
    def num_images(self) -> dict[str, int]:
        """Number of images with labels, with pseudo-labels that are taught, for validation, for tests."""
        return self.labeled.num_images | {"pseudo_labeled": len(self.selection)}

    def train_dataloader(self) -> CombinedLoader:
        """Return both streams, with as many batches."""
        seed, epoch = self.labeled.seed, start_epoch(self)
        labeled = self.labeled.labeled_stream(self.steps_per_epoch, epoch)
        pseudo_labeled = create_loader(
            RepeatedDataset(self.pseudo_labeled, self.selection, seed),
            StreamSampler(len(self.selection), self.batch_size, self.steps_per_epoch, seed, epoch),
            self.labeled.num_workers,
        )
        return CombinedLoader({"labeled": labeled, "pseudo_labeled": pseudo_labeled}, mode="min_size")

    def on_after_batch_transfer(
        self, batch: PixelBatch | dict[str, PixelBatch], dataloader_idx: int
    ) -> Batch | dict[str, Batch]:
        """Make the views, on the device where the pixels are."""
        if isinstance(batch, PixelBatch):
            return make_batch(batch, self.view)
        return {
            "labeled": make_batch(batch["labeled"], self.labeled.view, self.labeled.mixing),
            "pseudo_labeled": make_batch(batch["pseudo_labeled"], self.view, self.mixing),
        }


class RepeatedDataset(SampleDataset):
    """Reads the samples of a selection, each of its repetitions with a view of its own.

    A view follows from seed, epoch and id, and the repetitions of a sample share its id; so their epochs count how
    often the sample was seen, not the row.
    """

    def __init__(self, samples: Samples, selection: Selection, seed: int) -> None:
        super().__init__(samples, seed)
        self.repeats = selection.repeats.numpy()
        self.copies = selection.copies.numpy()

    def __getitem__(self, request: Request) -> PixelBatch:
        assert request.epochs is not None, "pseudo-labels are for training"
        epochs = request.epochs * self.copies[request.indices] + self.repeats[request.indices]
        return super().__getitem__(Request(request.indices, epochs))


def choose(table: PseudoLabels, samples: Samples, **options: Any) -> tuple[Selection, MaskReader | None]:
    """Return what is taught under the options of ``select`` or ``select_pixels``, and what reads its masks if any.

    Args:
        table: the pseudo-labels.
        samples: their images, in the table's order.
        options: of both functions.
    """
    if samples.masks is None:
        return select(table, **options), None
    masks = open_masks(table, samples.masks.size)
    selection = select_pixels(table, count_pixels(masks), **options)
    return selection, TaughtMasks(masks, samples.rows, selection.least_levels)


def pool_of(labeled: LabeledDataModule) -> Samples:
    """Return the unlabelled samples.

    Raises:
        ValueError: every sample is labelled.
    """
    if labeled.pool is None:
        raise no_pool(labeled, "as when the pseudo-labels were made")
    return labeled.pool


def pseudo_labeled_batch_size(batch_size: int, ratio: float) -> int:
    """Return the pseudo-labelled samples of a training step.

    Raises:
        ValueError: they are not a whole number.
    """
    exact = batch_size * ratio
    nearest = max(1, round(exact)) if ratio > 0 and exact < float("inf") else batch_size
    if not (ratio > 0 and abs(exact - nearest) <= 1e-6 * nearest):  # NaN too
        raise ValueError(
            f"data.pseudo_labeled_ratio: got {ratio}, which at data.batch_size {batch_size} makes {exact:g} "
            f"pseudo-labelled samples a step; expected a whole number, 1 or more: try {nearest / batch_size:g}"
        )
    return nearest


def require_origin(name: str, table: PseudoLabels, labeled: LabeledDataModule, teacher_digest: str | None) -> None:
    """Raise a ``ValueError`` unless a table is of the same source, kind and classes, and of the teacher, if named."""
    metadata, source = table.metadata, labeled.source
    if metadata.source != source.name:
        raise ValueError(
            f"{name}: its labels are of {metadata.source}, expected {source.name}; choose that source with "
            "--data.source, or make a table of this one"
        )
    if metadata.class_names != source.class_names:
        raise ValueError(
            f"{name}: its {len(metadata.class_names)} classes are {short(metadata.class_names)}, expected the "
            f"{len(source.class_names)} of {source.name} in their order, {short(source.class_names)}; make the table "
            "with a teacher of these classes"
        )
    if (table.masks is not None) != labeled.targets_are_masks:
        given, wanted = ("masks", "none") if table.masks is not None else ("no masks", "masks in a folder beside it")
        raise ValueError(
            f"{name}: the table has {given}, expected {wanted}, as {source.name} needs; label its pool with the "
            "command pseudo-label, and name the file"
        )
    if teacher_digest is not None and metadata.teacher != teacher_digest:
        raise ValueError(
            f"{name}: its labels are by the teacher {metadata.teacher[:12]}, expected the teacher "
            f"{teacher_digest[:12]} (SHA-256 of the weights); label the pool again with that one"
        )


def find_rows(name: str, pool: Samples, ids: Tensor) -> Tensor:
    """Return the ``(N,)`` indices of the pool's samples that have the ``ids (N,)``.

    Raises:
        ValueError: some are not in the pool.
    """
    order = pool.ids.argsort()
    sorted_ids = pool.ids[order]
    places = torch.searchsorted(sorted_ids, ids).clamp(max=len(pool) - 1)
    foreign = ids[sorted_ids[places] != ids].tolist()
    if foreign:
        option = "data.labels_per_class" if pool.masks is None else "data.num_labeled or data.labeled_fraction"
        raise ValueError(
            f"{name}: {len(foreign)} of its {len(ids)} ids are not in the pool of {len(pool)} samples, such as "
            f"{', '.join(map(str, foreign[:EXAMPLES]))}; expected labels of the pool alone, lest a labelled, "
            f"validation or test sample is taught: use the {option}, data.num_validation and data.split_seed with "
            "which the table was made"
        )
    return order[places]


def short(class_names: tuple[str, ...]) -> str:
    """Return the first few names."""
    return ", ".join(class_names[:5]) + (", ..." if len(class_names) > 5 else "")
