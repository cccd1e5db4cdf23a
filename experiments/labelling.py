"""Labelling a pool: what a teacher says of every unlabelled sample, as a table on disk."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch.distributed
from torch import nn

from datamodules.alignment import align_table, count_labels
from datamodules.labeled import LabeledDataModule
from datamodules.pseudo_label_columns import TableMetadata
from datamodules.pseudo_label_merging import merge_shards
from datamodules.pseudo_label_writer import PseudoLabelWriter, PseudoMaskWriter
from datamodules.pseudo_labeled import PseudoLabeledDataModule, find_rows, pool_of
from datamodules.pseudo_labels import PseudoLabels
from datamodules.pseudo_masks import count_pixels, open_masks, require_mask_options, select_pixels
from datamodules.selection import Selection, select
from datamodules.unlabeled import UnlabeledDataModule
from datamodules.views import Mixing, View
from experiments.audit import audit, hidden_truth
from experiments.callbacks import StopOnSignals
from experiments.mask_audit import audit_masks
from experiments.pseudo_label_settings import PseudoLabelSettings, SelectionSettings
from experiments.run import is_main_process
from experiments.settings import TrainerSettings
from experiments.training import create_trainer
from lightning_modules.inference import Labeler
from lightning_modules.teacher import state_digest

FULL = (errno.ENOSPC, errno.EDQUOT)


def label_pool(
    teacher: nn.Module,
    labeled: LabeledDataModule,
    path: Path,
    settings: PseudoLabelSettings,
    trainer_settings: TrainerSettings,
    *,
    may_skip: bool = False,
) -> PseudoLabels:
    """Write the table of the pool's pseudo-labels and return it; memory does not grow with the pool while predicting.

    The teacher sees the images as they are and is not noised: no augmentation, dropout or stochastic depth. Every
    process writes a shard; the first merges them. A table of that name stays until the new one is whole.

    Args:
        teacher: takes images ``(N, C, H, W)`` in ``[0, 1]``, returns logits ``(N, K)``, of images with masks
            ``(N, K, H, W)``.
        labeled: the labelled data, whose pool is labelled.
        path: the table.
        settings: precision, and whether mirrored images are averaged in; of masks, all must suit these.
        trainer_settings: processes and their devices.
        may_skip: samples may be missing because their files cannot be read.

    Raises:
        ValueError: there is no pool, settings are not for masks, a shard or a mask is missing, or the predictions are
            not probabilities of its classes.
        OSError: the disk is full.
        RuntimeError: another process of the run ended.
    """
    data = UnlabeledDataModule(labeled)
    source = labeled.source
    if labeled.targets_are_masks:  # before the hours that it may take
        require_mask_options(settings.labels, settings.max_per_class, settings.align)
    elif settings.align:
        count_labels(labeled)
    view = "flip" if settings.flip else "none"
    writer_kind = PseudoMaskWriter if labeled.targets_are_masks else PseudoLabelWriter
    writer = writer_kind(path, TableMetadata(state_digest(teacher), source.name, source.class_names, view))
    trainer = create_trainer(trainer_settings, [StopOnSignals(), writer], False, path.parent)
    if trainer.progress_bar_callback is not None:
        trainer.progress_bar_callback.disable()
    labeler = Labeler(teacher, precision=settings.precision, flip=settings.flip)
    with explained_errors(path):
        trainer.predict(labeler, datamodule=data, return_predictions=False)
        if is_main_process():
            merge_shards(writer.shards, path, data.pool, max_missing=len(data.pool) if may_skip else 0)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.barrier()
    return PseudoLabels.read(path)


@contextmanager
def explained_errors(path: Path) -> Iterator[None]:
    """Say, of a full disk or a lost process, what has become of the table ``path`` and what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        reason = f"{error.strerror}, so the pseudo-labels were not written; no earlier file was touched"
        raise OSError(error.errno, f"{reason}; make room and run the same command again", str(path)) from error
    except RuntimeError as error:
        if not isinstance(error, torch.distributed.DistError) and "gloo" not in str(error):
            raise
        raise RuntimeError(
            f"{path}: not written, because another process of this run ended while the pool was labelled; run the same "
            f"command again ({str(error).splitlines()[0]})"
        ) from error


def build_pseudo_labeled(
    labeled: LabeledDataModule,
    path: Path,
    settings: SelectionSettings,
    *,
    view: View | None = None,
    mixing: Mixing | None = None,
    steps_per_epoch: int | None = None,
    teacher_digest: str | None = None,
) -> PseudoLabeledDataModule:
    """Return labelled images beside the pseudo-labelled ones of a table.

    Args:
        labeled: the labelled data, whose pool the table is of.
        path: the table.
        settings: which labels are taught, and how many in a batch.
        view: of the pseudo-labelled images; default that of the labelled ones.
        mixing: of pairs of them, with their pseudo-labels; default none.
        steps_per_epoch: training batches of an epoch; ``None`` passes about once over the pseudo-labelled images.
        teacher_digest: SHA-256 of the teacher that the table must be of; ``None`` takes any.
    """
    return PseudoLabeledDataModule(
        labeled,
        path,
        pseudo_labeled_ratio=settings.ratio,
        view=view,
        mixing=mixing,
        steps_per_epoch=steps_per_epoch,
        teacher_digest=teacher_digest,
        align=settings.align,
        **selection_options(settings),
    )


def select_labels(table: PseudoLabels, settings: SelectionSettings) -> Selection:
    """Return the pseudo-labels that are taught under these settings."""
    return select(table, **selection_options(settings))


def selection_options(settings: SelectionSettings) -> dict[str, Any]:
    """Return the options of ``select`` and ``select_pixels``."""
    return {name: getattr(settings, name) for name in ("confidence_threshold", "balance", "max_per_class", "labels")}


def audit_table(
    table: PseudoLabels, labeled: LabeledDataModule, settings: SelectionSettings, previous: PseudoLabels | None = None
) -> dict[str, Any]:
    """Return what is selected of a table, of classes or masks, and how right it is: ``audit``, ``audit_masks``.

    Args:
        table: of the pool, read from a file where it has masks.
        labeled: the labelled data with that pool.
        settings: which labels are taught.
        previous: the table of the round before.

    Raises:
        ValueError: nothing can be selected, or a table is of another pool, or its masks are damaged.
    """
    pool = pool_of(labeled)
    if pool.masks is None:
        if settings.align:
            table = align_table(table, labeled)
            previous = None if previous is None else align_table(previous, labeled)
        return audit(table, select_labels(table, settings), hidden_truth(pool, table), previous)
    masks = open_masks(table, pool.masks.size)
    counts = count_pixels(masks, pool.select(find_rows("pseudo-label table", pool, table.ids)))
    selection = select_pixels(table, counts, **selection_options(settings))
    return audit_masks(table, selection, counts, masks, previous)
