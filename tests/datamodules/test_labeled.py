"""Labelled, unlabelled and both: splits that never mix, truth that no batch carries."""

import pytest
import torch
from lightning import LightningModule

from datamodules.augmentation.mixing import CutMix, MixUp
from datamodules.labeled import LabeledDataModule
from datamodules.sources import create_source
from datamodules.unlabeled import UnlabeledDataModule
from datamodules.views import Mixing, View, create_policy
from tests.conftest import make_source


def ids(*samples):
    return set(torch.cat([s.ids for s in samples]).tolist())


def test_splits_are_disjoint_and_whole(source):
    data = LabeledDataModule(source, labels_per_class=4, num_validation=9)
    parts = [data.train, data.validation, data.test, data.pool]
    assert [len(part) for part in parts] == [12, 9, 13, 39]
    assert sum(map(len, parts)) == len(ids(*parts)) == 73
    assert ids(data.train, data.validation, data.pool) == ids(source.train)
    assert data.train.targets.bincount().tolist() == [4, 4, 4]
    assert data.validation.targets.bincount().tolist() == [3, 3, 3]


def test_validation_is_the_same_whatever_is_labelled(source):
    few, everything = (LabeledDataModule(source, labels_per_class=n, split_seed=3) for n in (2, None))
    assert ids(few.validation) == ids(everything.validation)
    assert everything.pool is None
    other = LabeledDataModule(source, labels_per_class=2, split_seed=4)
    assert ids(other.validation) != ids(few.validation)


def test_a_sources_own_validation_split_is_used():
    source = make_source()
    import dataclasses

    with_validation = dataclasses.replace(
        source, train=source.train.select(torch.arange(50)), validation=source.train.select(torch.arange(50, 60))
    )
    data = LabeledDataModule(with_validation)
    assert ids(data.validation) == set(range(1050, 1060))
    assert len(data.train) == 50


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_validation": 60}, r"data\.num_validation: got 60, expected 1 to 59: stripes has 60 training samples"),
        ({"num_validation": 0}, r"data\.num_validation: got 0"),
        ({"labels_per_class": 19}, r"data\.labels_per_class: got 19, expected 1 to 18"),
        ({"batch_size": 0}, r"data\.batch_size: got 0, expected 1 or more"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(source, options, message):
    with pytest.raises(ValueError, match=message):
        LabeledDataModule(source, **options)


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


def test_modules_get_images_in_0_to_1(source, make_trainer):
    data, recorder = LabeledDataModule(source, batch_size=16), Recorder()
    make_trainer().fit(recorder, data)
    batch = recorder.training_batches[0]
    assert batch.images.dtype == torch.float32
    assert 0 <= batch.images.min() < batch.images.max() <= 1
    assert torch.equal((batch.images * 255).round(), source.train.images(batch.ids - 1000).float())
    assert len(recorder.training_batches) == data.steps_per_epoch == 3
    validated = torch.cat([batch.ids for batch in recorder.validation_batches])
    assert torch.equal(validated, data.validation.ids)


def test_both_streams_come_side_by_side_and_hide_the_truth(source, make_trainer):
    labeled = LabeledDataModule(source, labels_per_class=4, batch_size=8, num_validation=9)
    data, recorder = UnlabeledDataModule(labeled, batch_size=10), Recorder()
    make_trainer(max_epochs=2).fit(recorder, data)
    assert len(recorder.training_batches) == 2 * data.steps_per_epoch == 6
    for batch in recorder.training_batches:
        assert [len(batch[name].ids) for name in ("labeled", "unlabeled")] == [8, 10]
        assert (batch["unlabeled"].targets == -1).all()
        assert set(batch["labeled"].ids.tolist()) <= ids(labeled.train)
        assert set(batch["unlabeled"].ids.tolist()) <= ids(labeled.pool)
    assert (labeled.pool.targets >= 0).all()  # kept aside for audits


def test_predictions_cover_the_pool_once_in_order(source):
    labeled = LabeledDataModule(source, labels_per_class=4, eval_batch_size=7)
    data = UnlabeledDataModule(labeled)
    predicted = torch.cat([batch.ids for batch in data.predict_dataloader()])
    assert torch.equal(predicted, labeled.pool.ids)


def test_no_pool_is_a_clear_error(source):
    with pytest.raises(ValueError, match=r"data\.labels_per_class: got None, so every sample of stripes is labelled"):
        UnlabeledDataModule(LabeledDataModule(source))


def test_a_resumed_epoch_has_the_batches_it_would_have_had(source, make_trainer, tmp_path):
    def batches(recorder):
        return [batch.ids.tolist() for batch in recorder.training_batches]

    whole = Recorder()
    make_trainer(max_epochs=4).fit(whole, LabeledDataModule(source, batch_size=16))
    first, rest = Recorder(), Recorder()
    trainer = make_trainer(max_epochs=2)
    trainer.fit(first, LabeledDataModule(source, batch_size=16))
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    make_trainer(max_epochs=4).fit(
        rest, LabeledDataModule(source, batch_size=16), ckpt_path=tmp_path / "last.ckpt", weights_only=True
    )
    assert batches(first) + batches(rest) == batches(whole)


def test_mixing_gives_soft_targets_and_leaves_evaluation_alone(source, make_trainer):
    mixing = Mixing((MixUp(3, 1.0), CutMix(3, 1.0)), seed=0)
    labeled = LabeledDataModule(source, labels_per_class=4, batch_size=8, num_validation=9, mixing=mixing)
    data, recorder = UnlabeledDataModule(labeled, batch_size=10), Recorder()
    make_trainer().fit(recorder, data)
    for batch in recorder.training_batches:
        shares = batch["labeled"].targets
        assert shares.shape == (8, 3)
        torch.testing.assert_close(shares.sum(dim=1), torch.ones(8))
        assert (batch["unlabeled"].targets == 0).all()
    assert any((batch["labeled"].targets.max(dim=1).values < 1).any() for batch in recorder.training_batches)
    assert recorder.validation_batches[0].targets.dtype == torch.int64


def test_both_kinds_of_mixing_are_taken_by_whole_pairs():
    images, targets = torch.rand(64, 1, 8, 8), torch.arange(64) % 3
    ids, epochs = torch.arange(64), torch.zeros(64, dtype=torch.long)
    mixed, _ = Mixing((MixUp(3, 1.0), CutMix(3, 1.0)))(images, targets, ids, epochs)
    either = [Mixing((kind,))(images, targets, ids, epochs)[0] for kind in (MixUp(3, 1.0), CutMix(3, 1.0))]
    taken = torch.stack([(mixed == one).flatten(1).all(dim=1) for one in either])
    assert taken.any(dim=0).all()
    assert taken[:, ::2].equal(taken[:, 1::2])
    assert taken[0].any()
    assert taken[1].any()


@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker processes")  # two cores
@pytest.mark.parametrize("num_workers", [0, 4])
def test_views_are_the_same_whatever_the_workers_and_the_resume(source, make_trainer, tmp_path, num_workers):
    def fit(max_epochs, workers, **options):
        view = View(create_policy("strong", crop_padding=1), seed=5)
        data = LabeledDataModule(source, batch_size=16, seed=5, view=view, num_workers=workers)
        recorder, trainer = Recorder(), make_trainer(max_epochs=max_epochs, limit_val_batches=0)
        trainer.fit(recorder, data, **options)
        return trainer, [batch.images for batch in recorder.training_batches]

    _, whole = fit(3, 0)
    trainer, first = fit(1, num_workers)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    _, rest = fit(3, num_workers, ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    assert len(first + rest) == len(whole) == 9
    assert all(torch.equal(a, b) for a, b in zip(first + rest, whole, strict=True))
    assert not torch.equal(whole[0], whole[3])


def test_the_labelled_subset_of_one_seed_is_not_the_validation_split_of_another():
    digits = create_source("digits")
    data = [LabeledDataModule(digits, labels_per_class=10, num_validation=100, split_seed=seed) for seed in range(4)]
    for first in data:
        for second in data:
            if first is not second:
                assert len(ids(first.train) & ids(second.validation)) < 25  # chance: about 8
