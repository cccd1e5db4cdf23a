"""Images with masks: labelled ones, and the validation and test splits and the unlabelled pool beside them."""

from datamodules.labeled import LabeledDataModule, split_labeled
from datamodules.mask_views import MaskView, create_mask_policy
from datamodules.sources.source import Source
from datamodules.views import Mixing


class SegmentationDataModule(LabeledDataModule):
    """A ``LabeledDataModule`` whose targets are masks ``(N, H, W)``, 255 where a pixel is to be ignored.

    No learner sees the masks of a pool: ``UnlabeledDataModule`` gives -1, and 255 where a view padded. Subsets are
    chosen by a seeded permutation: masks hold many classes at once.

    Args:
        source: where images and masks come from.
        num_labeled: keep the masks of so many training images; the others become the unlabelled ``pool``.
        labeled_fraction: keep those of this share of the training images outside validation.
        batch_size: as for ``LabeledDataModule``, as all below.
        num_validation: likewise.
        split_seed: likewise.
        seed: likewise.
        view: makes the training views of images and masks; default: both as they are.
        mixing: ``CutMixMasks`` of the pairs of a training batch.
        steps_per_epoch: as for ``LabeledDataModule``, as all below.
        eval_batch_size: likewise.
        num_workers: likewise.

    Raises:
        ValueError: the source has no masks, or a number does not fit it.
    """

    targets_are_masks = True

    def __init__(
        self,
        source: Source,
        *,
        num_labeled: int | None = None,
        labeled_fraction: float | None = None,
        batch_size: int = 16,
        num_validation: int | None = None,
        split_seed: int = 0,
        seed: int = 0,
        view: MaskView | None = None,
        mixing: Mixing | None = None,
        steps_per_epoch: int | None = None,
        eval_batch_size: int = 64,
        num_workers: int = 0,
    ) -> None:
        super().__init__(
            source,
            batch_size=batch_size,
            num_validation=num_validation,
            split_seed=split_seed,
            seed=seed,
            view=view or MaskView(create_mask_policy("none"), seed),
            mixing=mixing,
            steps_per_epoch=steps_per_epoch,
            eval_batch_size=eval_batch_size,
            num_workers=num_workers,
        )
        number = number_labeled(num_labeled, labeled_fraction, len(self.train))
        self.train, pool = split_labeled(self.train, number, split_seed, num_classes=1)  # masks are one stratum
        self.pool = pool or source.unlabeled
        self.steps_per_epoch = steps_per_epoch or max(1, len(self.train) // batch_size)


def number_labeled(num_labeled: int | None, labeled_fraction: float | None, available: int) -> int:
    """Return how many of the ``available`` training images keep their masks: all, unless one of the two is given.

    Raises:
        ValueError: both are given, or one is out of range.
    """
    if num_labeled is not None and labeled_fraction is not None:
        raise ValueError(
            f"data.num_labeled: got {num_labeled} beside data.labeled_fraction {labeled_fraction}; expected one of them"
        )
    if labeled_fraction is not None:
        if not 0 < labeled_fraction <= 1:
            raise ValueError(f"data.labeled_fraction: got {labeled_fraction}, expected a share above 0, at most 1")
        return max(1, round(labeled_fraction * available))
    if num_labeled is not None and not 1 <= num_labeled <= available:
        raise ValueError(
            f"data.num_labeled: got {num_labeled}, expected 1 to {available}, the training images outside validation"
        )
    return available if num_labeled is None else num_labeled
