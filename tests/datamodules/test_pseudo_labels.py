"""The pseudo-label table: whole, verified, the same bytes for the same labels."""

import errno
import json
import os
from dataclasses import replace

import pyarrow as pa
import pytest
import torch
from pyarrow import parquet

from datamodules.parquet_file import ParquetFile
from datamodules.pseudo_label_columns import ROWS_AT_ONCE
from datamodules.pseudo_labels import PseudoLabels, TableMetadata
from datamodules.sources.paths import PathList

METADATA = TableMetadata("ab" * 32, "stripes", ("left", "middle", "right"))
PROBABILITIES = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.0, 0.9], [0.25, 0.5, 0.25], [0.6, 0.3, 0.1]])


def make_table(probabilities=PROBABILITIES, ids=None, paths=None):
    ids = torch.arange(len(probabilities)) * 10 if ids is None else ids
    return PseudoLabels(ids, probabilities, METADATA, None if paths is None else PathList.of(paths))


def test_labels_and_confidences_are_those_of_the_largest_probability():
    table = make_table()
    assert table.labels.tolist() == [0, 2, 1, 0]
    assert table.confidences.tolist() == pytest.approx([0.7, 0.9, 0.5, 0.6])
    assert make_table(torch.full((1, 3), 1 / 3)).labels.tolist() == [0]


@pytest.mark.parametrize("paths", [None, ["a.jpg", "b/ü.jpg", "c.jpg", "d.jpg"]])
def test_what_is_written_is_read(tmp_path, paths):
    written, path = make_table(paths=paths), tmp_path / "table.parquet"
    written.write(path)
    read = PseudoLabels.read(path)
    for column in ("ids", "labels", "confidences", "probabilities"):
        assert torch.equal(getattr(read, column), getattr(written, column))
    assert read.metadata == METADATA
    assert (read.paths if paths is None else list(read.paths)) == paths
    assert [file.name for file in tmp_path.iterdir()] == ["table.parquet"]


def test_the_file_has_the_published_columns(tmp_path):
    make_table(paths=list("abcd")).write(tmp_path / "table.parquet")
    schema = parquet.read_schema(tmp_path / "table.parquet")
    assert {name: str(kind) for name, kind in zip(schema.names, schema.types, strict=True)} == {
        "id": "int64",
        "label": "int64",
        "confidence": "float",
        "probabilities": "fixed_size_list<element: float>[3]",
        "path": "string",
    }
    metadata = {key.decode(): json.loads(value) for key, value in schema.metadata.items()}
    assert metadata["teacher"] == "ab" * 32
    assert metadata["source"] == "stripes"
    assert metadata["class_names"] == ["left", "middle", "right"]
    assert metadata["view"] == "none"
    assert metadata["versions"]["torch"] == torch.__version__.split("+")[0]


def test_a_table_of_classes_says_nothing_of_masks(tmp_path):
    """So tables written before there were pseudo-masks are read, and written again with the same bytes."""
    path = tmp_path / "table.parquet"
    make_table().write(path)
    assert b"masks" not in parquet.read_schema(path).metadata
    assert PseudoLabels.read(path).masks is None


def test_a_table_of_masks_knows_their_folder(tmp_path):
    path = tmp_path / "table.parquet"
    metadata = replace(METADATA, masks="cd" * 32)
    replace(make_table(), metadata=metadata).write(path)
    read = PseudoLabels.read(path)
    assert read.metadata == metadata
    assert read.masks == tmp_path / "table.parquet.masks-cdcdcdcdcdcd"
    assert read.describe().startswith("4 pseudo-masks of stripes")


def test_equal_tables_give_equal_bytes(tmp_path):
    for name in ("one", "two"):
        make_table(paths=list("abcd")).write(tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_table_of_many_pieces_keeps_its_order(tmp_path):
    probabilities = torch.rand(2 * ROWS_AT_ONCE + 3, 2).softmax(dim=1)
    table = PseudoLabels(torch.arange(len(probabilities)), probabilities, TableMetadata("t", "s", ("a", "b")))
    table.write(tmp_path / "table.parquet")
    read = PseudoLabels.read(tmp_path / "table.parquet")
    assert torch.equal(read.probabilities, probabilities)
    assert torch.equal(read.ids, table.ids)


def test_file_names_that_are_no_utf8_can_be_written(tmp_path):
    make_table(paths=[os.fsdecode(b"\xff.jpg"), "b", "c", "d"]).write(tmp_path / "table.parquet")
    assert PseudoLabels.read(tmp_path / "table.parquet").paths[1] == "b"


def test_description():
    lines = make_table().describe().splitlines()
    assert lines[0] == "4 pseudo-labels of stripes (3 classes, view none)"
    assert lines[1] == "by the teacher " + "ab" * 32
    assert lines[2] == "labels: 2 left, 1 middle, 1 right"
    assert lines[3] == "confidence: 0.500 at 0%, 0.530 at 10%, 0.650 at 50%, 0.840 at 90%, 0.900 at 100%"


class FullDisk:
    """A file on a disk that has room for some bytes."""

    def __init__(self, file, room):
        self.file = file
        self.room = room

    def write(self, data):
        self.room -= len(data)
        if self.room < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self.file.write(data)

    def __getattr__(self, name):
        return getattr(self.file, name)


def fill_disk(monkeypatch, room):
    writer = parquet.ParquetWriter
    monkeypatch.setattr(parquet, "ParquetWriter", lambda file, *args, **kw: writer(FullDisk(file, room), *args, **kw))


@pytest.mark.parametrize("room", [0, 100, 600])  # full at the first bytes, at the rows, at the end of the file
def test_a_full_disk_leaves_the_earlier_table(tmp_path, monkeypatch, room):
    make_table().write(tmp_path / "table.parquet")
    before = (tmp_path / "table.parquet").read_bytes()
    assert len(before) > room
    fill_disk(monkeypatch, room)
    with pytest.raises(OSError, match="No space left on device"):
        make_table(PROBABILITIES.flip(0)).write(tmp_path / "table.parquet")
    assert [file.name for file in tmp_path.iterdir()] == ["table.parquet"]
    assert (tmp_path / "table.parquet").read_bytes() == before


def test_a_disk_full_at_the_last_flush_leaves_the_earlier_table(tmp_path, monkeypatch):
    make_table().write(tmp_path / "table.parquet")
    before = (tmp_path / "table.parquet").read_bytes()

    def fail(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left on device"):
        make_table(PROBABILITIES.flip(0)).write(tmp_path / "table.parquet")
    assert [file.name for file in tmp_path.iterdir()] == ["table.parquet"]
    assert (tmp_path / "table.parquet").read_bytes() == before


def test_a_file_has_its_name_only_when_it_is_whole(tmp_path):
    schema = pa.schema([pa.field("id", pa.int64())])
    file = ParquetFile(tmp_path / "ids.parquet", schema)
    file.append(pa.table({"id": [1, 2]}))
    assert not (tmp_path / "ids.parquet").exists()
    file.finish()
    assert parquet.read_table(tmp_path / "ids.parquet")["id"].to_pylist() == [1, 2]


def rewrite(path, change):
    table = parquet.read_table(path)
    columns = {name: table[name].to_pylist() for name in table.column_names}
    change(columns)
    arrays = [pa.array(columns[field.name], field.type) for field in table.schema]
    parquet.write_table(pa.Table.from_arrays(arrays, schema=table.schema), path)


@pytest.mark.parametrize(
    ("column", "row", "value", "message"),
    [
        ("id", 1, 0, "its ids do not ascend"),
        ("label", 0, 1, "its labels or confidences are not those"),
        ("confidence", 0, 0.8, "its labels or confidences are not those"),
        ("probabilities", 2, [0.5, 0.5, 0.5], r"1 rows hold no probabilities that sum to 1, the first being row 2"),
        ("probabilities", 2, [1.5, -0.5, 0.0], "1 rows hold no probabilities"),
        ("probabilities", 2, [float("nan"), 0.5, 0.5], "1 rows hold no probabilities"),
        ("probabilities", 2, None, "some of its values are missing"),
        ("probabilities", 2, [None, 0.5, 0.5], "some of its values are missing"),
        ("label", 0, None, "some of its values are missing"),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(tmp_path, column, row, value, message):
    path = tmp_path / "table.parquet"
    make_table().write(path)
    rewrite(path, lambda columns: columns[column].__setitem__(row, value))
    with pytest.raises(ValueError, match=rf"table\.parquet: expected a pseudo-label table, but {message}"):
        PseudoLabels.read(path)


def test_files_that_are_no_table_are_refused(tmp_path):
    path = tmp_path / "table.parquet"
    with pytest.raises(ValueError, match=r"table\.parquet: no such file, expected a pseudo-label table; make one"):
        PseudoLabels.read(path)
    path.write_bytes(b"PAR1 but nothing else")
    with pytest.raises(ValueError, match="expected a pseudo-label table, but"):
        PseudoLabels.read(path)
    parquet.write_table(pa.table({"id": [1]}), path)
    with pytest.raises(ValueError, match="its metadata lack 'teacher'"):
        PseudoLabels.read(path)
    parquet.write_table(pa.table({"id": [1]}).replace_schema_metadata(METADATA.encoded()), path)
    with pytest.raises(ValueError, match=r"its columns are id int64; expected id int64, label int64, confidence float"):
        PseudoLabels.read(path)


def test_damage_is_noticed(tmp_path):
    path = tmp_path / "table.parquet"
    make_table(torch.rand(1000, 3).softmax(dim=1)).write(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(ValueError, match="expected a pseudo-label table, but"):
        PseudoLabels.read(path)
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    path.write_bytes(flipped)
    with pytest.raises(ValueError, match="expected a pseudo-label table, but"):
        PseudoLabels.read(path)
