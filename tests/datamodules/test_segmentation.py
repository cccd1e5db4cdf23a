"""Images with masks: splits, the hidden pool, the same batches whatever the workers and the resume."""

import dataclasses
from itertools import pairwise

import pytest
import torch
from lightning import LightningModule

from datamodules import loaders
from datamodules.augmentation.joint import CutMixMasks
from datamodules.labeled import LabeledDataModule
from datamodules.mask_views import MaskView, create_mask_policy
from datamodules.segmentation import SegmentationDataModule
from datamodules.sources.source import MaskArray, PixelArray, Samples, Source
from datamodules.unlabeled import UnlabeledDataModule
from datamodules.views import Mixing
from tests.conftest import make_source

NUM_TRAIN, NUM_TEST, SIZE = 50, 7, 12


def make_mask_source() -> Source:
    """Return grey images whose pixels are ten times their masks, of classes 0 to 4."""
    masks = torch.randint(0, 5, (NUM_TRAIN + NUM_TEST, SIZE, SIZE), dtype=torch.uint8)
    number = torch.arange(len(masks))
    pixels = PixelArray(masks.unsqueeze(1) * 10)
    everything = Samples(pixels, number, 100 + number, torch.zeros_like(number), masks=MaskArray(masks))
    return Source(
        name="squares",
        class_names=tuple("abcde"),
        citation="made for these tests",
        train=everything.select(number[:NUM_TRAIN]),
        test=everything.select(number[NUM_TRAIN:]),
        mean=(0.1,),
        std=(0.1,),
    )


@pytest.fixture
def source():
    return make_mask_source()


def ids(*samples):
    return set(torch.cat([s.ids for s in samples]).tolist())


def test_splits_are_disjoint_and_whole(source):
    data = SegmentationDataModule(source, num_labeled=10, num_validation=8)
    parts = [data.train, data.validation, data.test, data.pool]
    assert [len(part) for part in parts] == [10, 8, 7, 32]
    assert sum(map(len, parts)) == len(ids(*parts))
    assert ids(data.train, data.validation, data.pool) == ids(source.train)
    assert data.num_classes == 5


def test_a_share_is_a_number_and_larger_subsets_hold_the_smaller(source):
    shares = [SegmentationDataModule(source, labeled_fraction=f, split_seed=2) for f in (0.001, 0.2, 0.5, 1.0)]
    assert [len(data.train) for data in shares] == [1, 9, 22, 45]
    for small, large in pairwise(shares):
        assert ids(small.train) < ids(large.train)
        assert ids(small.validation) == ids(large.validation)
    assert shares[-1].pool is None
    assert ids(SegmentationDataModule(source, labeled_fraction=0.2, split_seed=3).train) != ids(shares[1].train)


def test_a_published_pool_is_the_pool_of_a_fully_labelled_set(source):
    pool = source.test.without_targets()
    assert SegmentationDataModule(dataclasses.replace(source, unlabeled=pool)).pool is pool


def test_steps_pass_once_over_the_labelled_images_unless_told(source):
    assert SegmentationDataModule(source, batch_size=4).steps_per_epoch == 11
    assert SegmentationDataModule(source, batch_size=4, num_labeled=9).steps_per_epoch == 2
    assert SegmentationDataModule(source, batch_size=4, num_labeled=9, steps_per_epoch=5).steps_per_epoch == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_labeled": 46}, r"data\.num_labeled: got 46, expected 1 to 45, the training images outside validation"),
        ({"num_labeled": 0}, r"data\.num_labeled: got 0"),
        ({"labeled_fraction": 0.0}, r"data\.labeled_fraction: got 0.0, expected a share above 0, at most 1"),
        ({"labeled_fraction": 1.1}, r"data\.labeled_fraction: got 1.1"),
        ({"labeled_fraction": 0.5, "num_labeled": 3}, r"data\.num_labeled: got 3 beside data\.labeled_fraction 0.5"),
        ({"steps_per_epoch": 0}, r"data\.steps_per_epoch: got 0, expected 1 or more"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(source, options, message):
    with pytest.raises(ValueError, match=message):
        SegmentationDataModule(source, **options)


def test_classes_are_no_masks_and_masks_no_classes(source):
    with pytest.raises(ValueError, match=r"data\.source: got stripes, whose targets are classes, expected .* masks"):
        SegmentationDataModule(make_source())
    with pytest.raises(ValueError, match=r"data\.source: got squares, whose targets are masks, expected .* classes"):
        LabeledDataModule(source)


class Recorder(LightningModule):
    """Notes the batches that a module is given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.training_batches = []
        self.validation_batches = []

    def training_step(self, batch, batch_idx):
        self.training_batches.append(batch)
        return self.weight.sum()

    def validation_step(self, batch, batch_idx):
        self.validation_batches.append(batch)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def view_of(seed=5, **options):
    return MaskView(create_mask_policy("weak", **options), seed)


def test_modules_get_masks_that_fit_their_images(source, make_trainer):
    view = MaskView(create_mask_policy("none", horizontal_flip=True, crop_padding=3))
    data, recorder = SegmentationDataModule(source, view=view, mixing=Mixing((CutMixMasks(),))), Recorder()
    make_trainer().fit(recorder, data)
    for batch in recorder.training_batches:
        assert batch.targets.dtype == torch.int64
        known = batch.targets.where(batch.targets != 255, 0)
        assert torch.equal((batch.images.squeeze(1) * 25.5).round().long(), known)
        assert (batch.targets == 255).any()
    (validated,) = recorder.validation_batches
    assert torch.equal((validated.images.squeeze(1) * 25.5).round().long(), validated.targets)
    assert torch.equal(validated.ids, data.validation.ids)


def test_the_pool_comes_beside_and_hides_its_masks(source, make_trainer):
    labeled = SegmentationDataModule(
        source, num_labeled=10, batch_size=4, view=view_of(), mixing=Mixing((CutMixMasks(),))
    )
    data, recorder = UnlabeledDataModule(labeled, batch_size=6), Recorder()
    make_trainer(max_epochs=2).fit(recorder, data)
    assert len(recorder.training_batches) == 2 * data.steps_per_epoch == 10
    for batch in recorder.training_batches:
        assert batch["labeled"].images.shape == (4, 1, SIZE, SIZE)
        assert (batch["labeled"].targets != 255).any()
        assert batch["unlabeled"].targets.shape == (6, SIZE, SIZE)
        assert set(batch["unlabeled"].targets.unique().tolist()) == {-1, 255}
        assert set(batch["unlabeled"].ids.tolist()) <= ids(labeled.pool)
    assert all((batch.targets == 255).all() for batch in data.predict_dataloader())
    assert (labeled.pool.read_targets(torch.arange(len(labeled.pool))) < 5).all()  # kept aside for audits


def test_hidden_masks_are_not_even_read(source):
    class Secret(MaskArray):
        def __call__(self, rows):
            raise AssertionError("the truth of the pool was read")

    hidden = dataclasses.replace(source.train, masks=Secret(source.train.masks.masks)).without_targets()
    assert (hidden.read_targets(torch.arange(3)) == 255).all()


def test_labelled_and_unlabelled_rows_may_stand_side_by_side(source):
    mixed = dataclasses.replace(source.train, targets=torch.arange(NUM_TRAIN) % 2 - 1)
    masks = mixed.read_targets(torch.tensor([1, 0, 3]))
    assert torch.equal(masks[[0, 2]], source.train.masks.masks[[1, 3]])
    assert (masks[1] == 255).all()


@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker processes")  # two cores
@pytest.mark.parametrize("num_workers", [0, 4])
def test_batches_are_the_same_whatever_the_workers_and_the_resume(source, make_trainer, tmp_path, num_workers):
    def fit(max_epochs, workers, **options):
        data = SegmentationDataModule(
            source, seed=5, view=view_of(), mixing=Mixing((CutMixMasks(),), 5), num_workers=workers
        )
        recorder, trainer = Recorder(), make_trainer(max_epochs=max_epochs, limit_val_batches=0)
        trainer.fit(recorder, data, **options)
        return trainer, [(batch.images, batch.targets) for batch in recorder.training_batches]

    _, whole = fit(3, 0)
    trainer, first = fit(1, num_workers)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    _, rest = fit(3, num_workers, ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    assert len(first + rest) == len(whole) == 6
    for (images, targets), (same_images, same_targets) in zip(first + rest, whole, strict=True):
        assert torch.equal(images, same_images)
        assert torch.equal(targets, same_targets)


def test_two_processes_see_together_the_masks_of_one(source, monkeypatch):
    def batches():
        data = SegmentationDataModule(source, view=view_of(), mixing=Mixing((CutMixMasks(),)))
        return [data.on_after_batch_transfer(batch, 0) for batch in data.train_dataloader()]

    whole, halves = batches(), []
    for rank in range(2):
        monkeypatch.setattr(loaders, "process_rank", lambda rank=rank: (rank, 2))
        halves.append(batches())
    for batch, *parts in zip(whole, *halves, strict=True):
        for values, *slices in zip(batch, *parts, strict=True):
            assert torch.equal(values, torch.cat(slices))
