"""Labelled and pseudo-labelled streams: the teacher's targets, on the right images, each repetition a new view."""

from collections import Counter
from dataclasses import replace

import pytest
import torch
from lightning import LightningModule

from datamodules.augmentation.mixing import CutMix, MixUp
from datamodules.labeled import LabeledDataModule
from datamodules.pseudo_labeled import PseudoLabeledDataModule
from datamodules.pseudo_labels import PseudoLabels, TableMetadata
from datamodules.sources.paths import PathList
from datamodules.sources.source import Samples
from datamodules.views import Mixing, View, create_policy
from tests.conftest import make_source

NAMES = ("stripe 0", "stripe 1", "stripe 2")
WEAK = View(create_policy("weak"), seed=1)


@pytest.fixture
def labeled(source):
    return LabeledDataModule(source, labels_per_class=4, batch_size=6, num_validation=9)


def table_of(ids, **changes):
    """Return labels that follow from the ids, not from the truth."""
    ids = ids.sort().values
    probabilities = torch.stack([(ids * factor % 7).float() for factor in (1, 2, 3)], dim=1).softmax(dim=1)
    return PseudoLabels(ids, probabilities, replace(TableMetadata("ab" * 32, "stripes", NAMES), **changes))


@pytest.fixture
def table(labeled):
    return table_of(labeled.pool.ids)


class Recorder(LightningModule):
    """Notes the batches that a module is given."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.training_batches, self.validation_batches, self.test_batches = [], [], []

    def training_step(self, batch, batch_idx):
        self.training_batches.append(batch)
        return self.weight.sum()

    def validation_step(self, batch, batch_idx):
        self.validation_batches.append(batch)

    def test_step(self, batch, batch_idx):
        self.test_batches.append(batch)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(make_trainer, data, max_epochs=1, **options):
    recorder = Recorder()
    make_trainer(max_epochs=max_epochs).fit(recorder, data, **options)
    return recorder


def pseudo_labeled(recorder):
    return [batch["pseudo_labeled"] for batch in recorder.training_batches]


def targets_by_id(table, ids):
    return table.probabilities[torch.searchsorted(table.ids, ids)]


def test_both_streams_come_side_by_side(source, labeled, table, make_trainer):
    data = PseudoLabeledDataModule(labeled, table, pseudo_labeled_ratio=1.5)
    recorder = fit(make_trainer, data, max_epochs=2)
    assert data.num_classes == 3
    assert len(recorder.training_batches) == 2 * data.steps_per_epoch == 2 * (39 // 9)
    for batch in recorder.training_batches:
        assert [len(batch[name].ids) for name in ("labeled", "pseudo_labeled")] == [6, 9]
        given, taught = batch["labeled"], batch["pseudo_labeled"]
        assert set(given.ids.tolist()) <= set(labeled.train.ids.tolist())
        assert torch.equal(given.targets, source.train.targets[given.ids - 1000])
        assert taught.targets.dtype == torch.float32
        assert torch.equal(taught.targets, targets_by_id(table, taught.ids))
        assert torch.equal((taught.images * 255).round(), source.train.images(taught.ids - 1000).float())
    seen = torch.cat([batch.ids for batch in pseudo_labeled(recorder)]).tolist()
    assert set(seen[:39]) == set(labeled.pool.ids.tolist())


def test_evaluation_is_that_of_the_labelled_data(labeled, table, make_trainer):
    data, recorder = PseudoLabeledDataModule(labeled, table, view=WEAK), Recorder()
    trainer = make_trainer()
    trainer.fit(recorder, data)
    trainer.test(recorder, data, verbose=False)
    for batches, samples in (
        (recorder.validation_batches, labeled.validation),
        (recorder.test_batches, labeled.test),
    ):
        assert torch.equal(torch.cat([batch.ids for batch in batches]), samples.ids)
        images = torch.cat([batch.images for batch in batches])
        assert torch.equal((images * 255).round(), samples.images(torch.arange(len(samples))).float())


def test_hard_labels(labeled, table, make_trainer):
    recorder = fit(make_trainer, PseudoLabeledDataModule(labeled, table, labels="hard"))
    for batch in pseudo_labeled(recorder):
        assert batch.targets.dtype == torch.int64
        assert torch.equal(batch.targets, targets_by_id(table, batch.ids).argmax(dim=1))


def test_only_the_selected_are_taught(labeled, table, make_trainer):
    threshold = float(table.confidences.median())
    data = PseudoLabeledDataModule(labeled, table, confidence_threshold=threshold, steps_per_epoch=10)
    seen = {int(number) for batch in pseudo_labeled(fit(make_trainer, data)) for number in batch.ids}
    assert seen == set(table.ids[table.confidences >= threshold].tolist())
    assert data.selection.summary["num_selected"] == len(seen) < len(table)


def test_the_truth_is_never_seen(table, make_trainer):
    def batches(truth):
        source = make_source()
        data = LabeledDataModule(source, labels_per_class=4, batch_size=6, num_validation=9)
        data.pool = replace(data.pool, targets=truth(data.pool.targets))
        return fit(make_trainer, PseudoLabeledDataModule(data, table, view=WEAK)).training_batches

    for one, two in zip(batches(lambda targets: targets), batches(lambda targets: 2 - targets), strict=True):
        for name in ("labeled", "pseudo_labeled"):
            assert all(torch.equal(a, b) for a, b in zip(one[name], two[name], strict=True))


def scarce_table(labeled):
    """Return labels of which one class has a single sample."""
    table = table_of(labeled.pool.ids)
    labels = torch.arange(len(table)) % 2
    labels[5] = 2
    return replace(table, probabilities=torch.eye(3)[labels] * 0.7 + 0.1)


def test_repetitions_of_a_sample_are_different_views(labeled, make_trainer):
    strong = View(create_policy("none", crop_padding=4, horizontal_flip=True, brightness=0.5), seed=1)
    table = scarce_table(labeled)
    data = PseudoLabeledDataModule(labeled, table, balance=True, max_per_class=8, view=strong, steps_per_epoch=8)
    assert data.selection.summary["rows_per_class"] == [8, 8, 8]
    recorder = fit(make_trainer, data)
    seen = torch.cat([batch.ids for batch in pseudo_labeled(recorder)])
    images = torch.cat([batch.images for batch in pseudo_labeled(recorder)])
    scarce = images[seen == table.ids[5]]
    assert len(scarce) == 16  # two passes of 24 rows
    assert len({image.numpy().tobytes() for image in scarce}) == 16
    assert set(Counter(seen.tolist()).values()) == {2, 16}


def test_repetitions_count_how_often_a_sample_was_seen(labeled):
    data = PseudoLabeledDataModule(labeled, scarce_table(labeled), balance=True, max_per_class=8, steps_per_epoch=12)
    batches = [batch["pseudo_labeled"] for batch, *_ in data.train_dataloader()]
    for number in data.selection.ids.unique():
        epochs = torch.cat([batch.epochs[batch.ids == number] for batch in batches])
        assert sorted(epochs.tolist()) == list(range(len(epochs)))


def test_crops_made_while_reading_differ_between_repetitions(labeled):
    keys = {}  # with which the reader was asked, by row

    class Reader:
        num_skipped = 0
        makes_choices = True

        def __call__(self, rows, asked):
            for row, key in zip(rows.tolist(), asked.tolist(), strict=True):
                keys.setdefault(row, []).append(key)
            return torch.zeros(len(rows), 1, 8, 8, dtype=torch.uint8), torch.arange(len(rows))

    labeled.pool = replace(labeled.pool, reader=Reader())
    data = PseudoLabeledDataModule(labeled, scarce_table(labeled), balance=True, max_per_class=8, steps_per_epoch=8)
    list(data.train_dataloader())
    assert max(map(len, keys.values())) == 16
    assert all(len(set(asked)) == len(asked) for asked in keys.values())


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_resumed_epoch_has_the_batches_it_would_have_had(source, make_trainer, tmp_path, num_workers):
    def data():
        labeled = LabeledDataModule(source, labels_per_class=4, batch_size=6, num_validation=9, num_workers=num_workers)
        table = scarce_table(labeled)
        return PseudoLabeledDataModule(labeled, table, balance=True, max_per_class=8, view=WEAK)

    whole = pseudo_labeled(fit(make_trainer, data(), max_epochs=2))
    trainer = make_trainer(max_epochs=1)
    trainer.fit(Recorder(), data())
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    rest = pseudo_labeled(fit(make_trainer, data(), max_epochs=2, ckpt_path=tmp_path / "last.ckpt", weights_only=True))
    assert len(whole) == 2 * len(rest) == 8
    for one, two in zip(whole[4:], rest, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_pairs_of_each_stream_are_mixed_as_it_says(source, make_trainer):
    labeled = LabeledDataModule(source, labels_per_class=4, batch_size=6, num_validation=9)
    table = table_of(labeled.pool.ids)
    data = PseudoLabeledDataModule(labeled, table, view=WEAK, mixing=Mixing((CutMix(3),), seed=1))
    (batch, *_) = fit(make_trainer, data).training_batches
    assert batch["labeled"].targets.dtype == torch.int64
    mixed = batch["pseudo_labeled"]
    pixels, _ = labeled.pool.read(torch.searchsorted(labeled.pool.ids, mixed.ids))
    views = WEAK(pixels, mixed.ids, torch.zeros_like(mixed.ids))
    expected = Mixing((CutMix(3),), seed=1)(
        views, targets_by_id(table, mixed.ids), mixed.ids, torch.zeros_like(mixed.ids)
    )
    assert torch.equal(mixed.images, expected[0])
    assert torch.equal(mixed.targets, expected[1])
    assert not torch.equal(mixed.targets, targets_by_id(table, mixed.ids))


def test_only_labelled_pairs_are_mixed_unless_asked_for(source, make_trainer):
    mixing = Mixing((MixUp(3),))
    labeled = LabeledDataModule(source, labels_per_class=4, batch_size=6, num_validation=9, mixing=mixing)
    table = table_of(labeled.pool.ids)
    (batch, *_) = fit(make_trainer, PseudoLabeledDataModule(labeled, table)).training_batches
    assert batch["labeled"].targets.shape == (6, 3)
    assert torch.equal(batch["pseudo_labeled"].targets, targets_by_id(table, batch["pseudo_labeled"].ids))


def test_a_table_may_come_from_a_file(labeled, table, tmp_path):
    table.write(tmp_path / "table.parquet")
    data = PseudoLabeledDataModule(labeled, tmp_path / "table.parquet", teacher_digest="ab" * 32)
    assert torch.equal(data.selection.ids, table.ids)


def test_ids_are_found_whatever_their_order(source, labeled):
    order = torch.randperm(39)
    paths = PathList.of(map(str, labeled.pool.ids.tolist()))
    labeled.pool = replace(labeled.pool, paths=paths).select(order)
    table = table_of(labeled.pool.ids[:20])
    samples: Samples = PseudoLabeledDataModule(labeled, table).pseudo_labeled
    assert torch.equal(samples.ids, table.ids)
    assert list(samples.paths) == [str(number) for number in table.ids.tolist()]
    assert torch.equal(samples.images(torch.arange(20)), source.train.images(table.ids - 1000))


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"source": "digits"}, {}, "pseudo-label table: its labels are of digits, expected stripes; choose that"),
        (
            {"class_names": NAMES[::-1]},
            {},
            "its 3 classes are stripe 2, stripe 1, stripe 0, expected the 3 of stripes in their order, stripe 0",
        ),
        (
            {},
            {"teacher_digest": "cd" * 32},
            "its labels are by the teacher abababababab, expected the teacher cdcdcdcdcdcd .* label the pool again",
        ),
        ({}, {"confidence_threshold": 1.0}, "expected some of the 39 pseudo-labels to reach it"),
        ({}, {"steps_per_epoch": 0}, r"data\.steps_per_epoch: got 0"),
        ({}, {"pseudo_labeled_ratio": 0}, r"data\.pseudo_labeled_ratio: got 0, .* 1 or more"),
        ({}, {"pseudo_labeled_ratio": -1}, r"data\.pseudo_labeled_ratio: got -1, .* 1 or more"),
        ({}, {"pseudo_labeled_ratio": float("nan")}, r"data\.pseudo_labeled_ratio: got nan"),
        ({}, {"pseudo_labeled_ratio": float("inf")}, r"data\.pseudo_labeled_ratio: got inf"),
        (
            {},
            {"pseudo_labeled_ratio": 0.7},
            r"data\.pseudo_labeled_ratio: got 0\.7, which at data\.batch_size 6 makes 4\.2 .* try 0\.666667",
        ),
    ],
)
def test_tables_and_options_that_do_not_fit_are_refused(labeled, changes, options, message):
    with pytest.raises(ValueError, match=message):
        PseudoLabeledDataModule(labeled, table_of(labeled.pool.ids, **changes), **options)


def test_labels_of_samples_outside_the_pool_are_refused(labeled):
    ids = torch.cat([labeled.pool.ids, labeled.validation.ids[:2]])
    example = int(ids[-2:].min())
    with pytest.raises(
        ValueError, match=rf"2 of its 41 ids are not in the pool of 39 samples, such as {example}.*data\.split_seed"
    ):
        PseudoLabeledDataModule(labeled, table_of(ids))


def test_no_pool_is_a_clear_error(source, table):
    with pytest.raises(ValueError, match=r"data\.labels_per_class: got None, so every sample of stripes is labelled"):
        PseudoLabeledDataModule(LabeledDataModule(source), table)
