"""Shards of several processes become one table, or a clear error."""

import errno
from dataclasses import replace

import pytest
import torch
from lightning import LightningModule
from torch import nn
from torch.utils.data import DataLoader

from datamodules.batch import Batch, PixelBatch, unit_interval
from datamodules.labeled import LabeledDataModule
from datamodules.loaders import Request, SampleDataset
from datamodules.pseudo_label_merging import merge_shards
from datamodules.pseudo_label_writer import PseudoLabelWriter
from datamodules.pseudo_labels import PseudoLabels, TableMetadata
from datamodules.sources.paths import PathList
from datamodules.unlabeled import UnlabeledDataModule
from tests.datamodules.test_pseudo_labels import fill_disk

NAMES = ("stripe 0", "stripe 1", "stripe 2")
METADATA = TableMetadata("ab" * 32, "stripes", NAMES)
ALL = torch.arange(1029, 999, -1)


@pytest.fixture
def pool(source):
    """Return 30 samples whose ids do not ascend, with paths."""
    samples = source.train.select(ALL - 1000)
    return replace(samples, paths=PathList.of(f"{number}.jpg" for number in samples.ids.tolist()))


def probabilities_of(ids):
    logits = torch.stack([(ids * factor % 7).float() for factor in (1, 2, 3)], dim=1)
    return logits.softmax(dim=1)


def write_shards(path, *shards, token="run", metadata=(METADATA,)):
    """Write one shard a process, each a list of batches of ids; return their folder."""
    for process, batches in enumerate(shards):
        writer = PseudoLabelWriter(path, metadata[min(process, len(metadata) - 1)])
        writer.token = token
        writer.open(process, len(shards))
        for ids in batches:
            writer.append(ids, probabilities_of(ids))
        writer.finish()
    return writer.shards


def merged_bytes(path, pool, *shards):
    merge_shards(write_shards(path, *shards), path, pool)
    return path.read_bytes()


def test_any_number_of_processes_in_any_order_give_the_same_bytes(tmp_path, pool):
    chunks = pool.ids.split(4)
    whole = merged_bytes(tmp_path / "one.parquet", pool, chunks)
    assert merged_bytes(tmp_path / "two.parquet", pool, chunks[::2], chunks[1::2]) == whole
    assert merged_bytes(tmp_path / "three.parquet", pool, chunks[2::3], [], chunks[::3] + chunks[1::3]) == whole
    shuffled = pool.ids[torch.randperm(30)]
    assert merged_bytes(tmp_path / "shuffled.parquet", pool, shuffled.split(7)) == whole


def test_the_table_is_what_was_predicted(tmp_path, pool):
    path = tmp_path / "table.parquet"
    chunks = pool.ids.split(4)
    returned = merge_shards(write_shards(path, chunks[::2], chunks[1::2]), path, pool)
    read = PseudoLabels.read(path)
    assert read.ids.tolist() == sorted(pool.ids.tolist())
    assert torch.equal(read.probabilities, probabilities_of(read.ids))
    assert list(read.paths) == [f"{number}.jpg" for number in read.ids.tolist()]
    assert read.metadata == METADATA
    assert torch.equal(returned.probabilities, read.probabilities)
    assert [file.name for file in tmp_path.iterdir()] == ["table.parquet"]  # no shards left


@pytest.mark.parametrize(
    ("shards", "message"),
    [
        (
            [[ALL[:-2]]],
            r"expected each of the pool's 30 ids exactly once, but ids are: 2 missing \(such as 1000, 1001\)",
        ),
        ([[ALL, ALL[:1]]], r"but ids are: 1 duplicated \(such as 1029\); predict with the datamodule's predict_data"),
        ([[ALL[:16]], [ALL[14:]]], r"but ids are: 2 duplicated \(such as 1014, 1015\)"),
        ([[ALL, torch.tensor([5, 2000])]], r"but ids are: 2 foreign \(such as 5, 2000\)"),
        ([[ALL[1:], torch.tensor([5])]], r"1 missing \(such as 1029\); 1 foreign \(such as 5\)"),
    ],
)
def test_ids_must_come_once_each(tmp_path, pool, shards, message):
    path = tmp_path / "table.parquet"
    folder = write_shards(path, *shards)
    with pytest.raises(ValueError, match=message):
        merge_shards(folder, path, pool)
    assert not path.exists()
    assert folder.is_dir()


def test_samples_whose_files_cannot_be_read_may_be_missing(tmp_path, pool):
    path = tmp_path / "table.parquet"
    table = merge_shards(write_shards(path, [pool.ids[2:]]), path, pool, max_missing=2)
    assert torch.equal(table.ids, pool.ids[2:].sort().values)
    assert torch.equal(table.probabilities, probabilities_of(table.ids))
    assert list(table.paths) == [f"{number}.jpg" for number in table.ids.tolist()]
    shards = write_shards(path, [pool.ids[3:]])
    with pytest.raises(ValueError, match="3 missing"):
        merge_shards(shards, path, pool, max_missing=2)


def test_shards_of_other_runs_are_ignored_and_removed(tmp_path, pool):
    path = tmp_path / "table.parquet"
    stale = write_shards(path, [pool.ids], token="earlier", metadata=(replace(METADATA, teacher="other"),))
    other = write_shards(tmp_path / "other.parquet", [pool.ids])
    shards = write_shards(path, [pool.ids])
    assert stale != shards
    assert merge_shards(shards, path, pool).metadata.teacher == METADATA.teacher
    assert not stale.exists()
    assert other.exists()


def test_every_writer_has_a_folder_of_its_own(tmp_path):
    one, two = (PseudoLabelWriter(tmp_path / "table.parquet", METADATA) for _ in range(2))
    assert one.shards != two.shards
    assert one.shards.parent == tmp_path


def test_a_process_that_did_not_finish_is_missed(tmp_path, pool):
    path = tmp_path / "table.parquet"
    shards = write_shards(path, [pool.ids[:10]], [pool.ids[10:]])
    (shards / "00001-of-00002.parquet").rename(shards / ".00001-of-00002.parquet.77")  # killed before the rename
    with pytest.raises(ValueError, match="1 of 2 processes finished their predictions, missing that of process 1; run"):
        merge_shards(shards, path, pool)
    with pytest.raises(ValueError, match="0 of 1 processes finished"):
        merge_shards(tmp_path / "nothing", path, pool)


def test_shards_must_agree(tmp_path, pool):
    path = tmp_path / "table.parquet"
    metadata = (METADATA, replace(METADATA, teacher="other", view="weak"))
    shards = write_shards(path, [pool.ids[:10]], [pool.ids[10:]], metadata=metadata)
    with pytest.raises(ValueError, match=r"00001-of-00002\.parquet: its teacher and view differ from those of 00000"):
        merge_shards(shards, path, pool)
    shards = write_shards(path, [pool.ids], token="mixed")
    write_shards(path, [pool.ids[:10]], [pool.ids[10:]], token="mixed")
    with pytest.raises(ValueError, match="shards of 1 and of 2 processes; remove it and run again"):
        merge_shards(shards, path, pool)


def test_a_damaged_shard_is_noticed(tmp_path, pool):
    path = tmp_path / "table.parquet"
    shards = write_shards(path, [pool.ids])
    shard = shards / "00000-of-00001.parquet"
    shard.write_bytes(shard.read_bytes()[:-30])
    with pytest.raises(ValueError, match=r"00000-of-00001\.parquet: expected a pseudo-label table, but"):
        merge_shards(shards, path, pool)


@pytest.mark.parametrize(
    ("probabilities", "message"),
    [
        (torch.ones(4, 2), r"predictions are \(4, 2\), expected probabilities \(4, 3\), a row an image and a column"),
        (torch.ones(3, 3), r"predictions are \(3, 3\), expected probabilities \(4, 3\)"),
        (torch.ones(4, 3, 8, 8), r"predictions are \(4, 3, 8, 8\), expected probabilities \(4, 3\)"),
        (torch.tensor([[1.0, 0, 0]] * 3 + [[float("nan")] * 3]), "1 of 4 .* are NaN or do not sum .* being id 3;"),
        (torch.tensor([[2.0, -1.0, 0.0]] * 4), "4 of 4 images of a batch are NaN or do not sum to 1"),
    ],
)
def test_predictions_that_are_no_probabilities_are_refused(tmp_path, probabilities, message):
    writer = PseudoLabelWriter(tmp_path / "table.parquet", METADATA)
    writer.open(0, 1)
    with pytest.raises(ValueError, match=message):
        writer.append(torch.arange(4), probabilities)
    writer.discard()
    assert list(writer.shards.iterdir()) == []


class Teacher(LightningModule):
    """Sees which third of an image is bright."""

    def __init__(self, fails_at=None):
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d((3, 1))
        self.fails_at = fails_at

    def predict_step(self, batch, batch_idx):
        if batch_idx == self.fails_at:
            raise RuntimeError("power cut")
        assert isinstance(batch, Batch)
        return (self.pool(batch.images).flatten(1) * 10).softmax(dim=1)


@pytest.fixture
def data(source):
    return UnlabeledDataModule(LabeledDataModule(source, labels_per_class=4, num_validation=9, eval_batch_size=7))


def test_lightning_predicts_into_the_table(tmp_path, data, make_trainer):
    path, teacher = tmp_path / "table.parquet", Teacher()
    writer = PseudoLabelWriter(path, METADATA)
    make_trainer(callbacks=[writer]).predict(teacher, data, return_predictions=False)
    table = merge_shards(writer.shards, path, data.pool)
    assert torch.equal(table.ids, data.pool.ids.sort().values)
    truth = dict(zip(data.labeled.pool.ids.tolist(), data.labeled.pool.targets.tolist(), strict=True))
    assert table.labels.tolist() == [truth[number] for number in table.ids.tolist()]
    images = unit_interval(data.pool.images((table.ids[:, None] == data.pool.ids).nonzero()[:, 1]))
    assert torch.allclose(table.probabilities, teacher.predict_step(Batch(images, table.ids, table.ids), 0))


def test_a_shuffled_loader_gives_the_same_bytes(tmp_path, data, make_trainer):
    class Shuffled(UnlabeledDataModule):
        def predict_dataloader(self):
            order = torch.randperm(len(self.pool)).split(7)
            dataset = SampleDataset(self.pool)
            batches: list[PixelBatch] = [dataset[Request(indices.numpy(), None)] for indices in order]
            return DataLoader(batches, batch_size=None)

    files = []
    for number, module in enumerate((data, Shuffled(data.labeled))):
        path = tmp_path / f"{number}.parquet"
        writer = PseudoLabelWriter(path, METADATA)
        make_trainer(callbacks=[writer]).predict(Teacher(), module, return_predictions=False)
        merge_shards(writer.shards, path, data.pool)
        files.append(path.read_bytes())
    assert files[0] == files[1]


@pytest.mark.slow
def test_two_processes_give_the_same_bytes_as_one(tmp_path, data, make_trainer):
    files = []
    for devices in (1, 2):
        path = tmp_path / f"{devices}.parquet"
        writer = PseudoLabelWriter(path, METADATA)
        strategy = "auto" if devices == 1 else "ddp_spawn"
        trainer = make_trainer(callbacks=[writer], devices=devices, strategy=strategy)
        trainer.predict(Teacher(), data, return_predictions=False)
        assert len(list(writer.shards.iterdir())) == devices
        merge_shards(writer.shards, path, data.pool)
        files.append(path.read_bytes())
    assert files[0] == files[1]


def test_predictions_that_fail_leave_no_shard_and_the_earlier_table(tmp_path, data, make_trainer):
    path = tmp_path / "table.parquet"
    path.write_bytes(b"earlier")
    writer = PseudoLabelWriter(path, METADATA)
    with pytest.raises(RuntimeError, match="power cut"):
        make_trainer(callbacks=[writer]).predict(Teacher(fails_at=2), data, return_predictions=False)
    assert list(writer.shards.iterdir()) == []
    with pytest.raises(ValueError, match="0 of 1 processes finished"):
        merge_shards(writer.shards, path, data.pool)
    assert path.read_bytes() == b"earlier"


def test_a_full_disk_while_predicting_leaves_the_earlier_table(tmp_path, data, make_trainer, monkeypatch):
    path = tmp_path / "table.parquet"
    path.write_bytes(b"earlier")
    writer = PseudoLabelWriter(path, METADATA)
    fill_disk(monkeypatch, room=100)
    with pytest.raises(OSError, match="No space left on device") as raised:
        make_trainer(callbacks=[writer]).predict(Teacher(), data, return_predictions=False)
    assert raised.value.errno == errno.ENOSPC
    assert list(writer.shards.iterdir()) == []
    assert path.read_bytes() == b"earlier"


def test_other_stages_write_nothing(tmp_path, source, make_trainer):
    writer = PseudoLabelWriter(tmp_path / "table.parquet", METADATA)
    writer.setup(make_trainer(), Teacher(), "fit")
    assert not writer.shards.exists()
