import multiprocessing
import pickle
import shutil

import numpy as np
import pytest
import torch

from datamodules.sources.crops import Frame
from datamodules.sources.decoded_cache import DecodedCache

from .layouts import random_pixels

SIDE = 8


def frame(seed):
    pixels = torch.from_numpy(random_pixels(seed, SIDE, SIDE, 3)).permute(2, 0, 1)
    return Frame(pixels, height=100 + seed, width=200)


def assert_same(one, other):
    assert torch.equal(one.pixels, other.pixels)
    assert (one.height, one.width) == (other.height, other.width)


def test_gives_back_what_was_stored(tmp_path):
    cache = DecodedCache(tmp_path / "c", 3, SIDE)
    assert cache.read(1) is None
    cache.write(1, frame(1))
    assert_same(cache.read(1), frame(1))
    assert cache.read(0) is None
    assert_same(DecodedCache(tmp_path / "c", 3, SIDE).read(1), frame(1))


def test_is_finished_when_no_record_is_missing(tmp_path):
    cache = DecodedCache(tmp_path / "c", 3, SIDE)
    for row in (0, 2):
        cache.write(row, frame(row))
        cache.finish_if_whole()
        assert not cache.finished
    cache.mark_unreadable(1)
    cache.finish_if_whole()
    assert cache.finished
    again = DecodedCache(tmp_path / "c", 3, SIDE)
    assert_same(again.read(2), frame(2))
    assert again.read(1) is None
    again.write(1, frame(1))  # the file can be read after all
    assert again.read(1) is None
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == ["finished.json", "pixels", "sizes", "states"]


def test_a_finished_cache_can_be_read_where_nothing_can_be_written(tmp_path):
    cache = DecodedCache(tmp_path / "c", 1, SIDE)
    cache.write(0, frame(0))
    cache.finish_if_whole()
    for path in (tmp_path / "c").iterdir():
        path.chmod(0o444)
    assert_same(DecodedCache(tmp_path / "c", 1, SIDE).read(0), frame(0))


def test_a_torn_record_counts_as_missing(tmp_path):
    DecodedCache(tmp_path / "c", 2, SIDE).write(0, frame(0))
    with open(tmp_path / "c" / "pixels", "r+b") as file:
        file.seek(17)
        file.write(b"\x00\x01\x02")
    assert DecodedCache(tmp_path / "c", 2, SIDE).read(0) is None


def test_pickled_it_carries_no_pixels(tmp_path):
    cache = DecodedCache(tmp_path / "c", 100, 64)
    cache.write(7, Frame(torch.ones(3, 64, 64, dtype=torch.uint8), 1, 1))
    data = pickle.dumps(cache)
    assert len(data) < 2000
    assert pickle.loads(data).read(7).pixels.min() == 1


def fill(directory, rows):
    torch.set_num_threads(1)
    cache = DecodedCache(directory, 40, SIDE)
    for row in rows:
        if cache.read(row) is None:
            cache.write(row, frame(row))
            cache.finish_if_whole()


def test_several_processes_fill_it_together(tmp_path):
    fork = multiprocessing.get_context("fork")
    shares = [range(25), range(15, 40), range(39, -1, -1)]
    workers = [fork.Process(target=fill, args=(tmp_path / "c", rows)) for rows in shares]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    cache = DecodedCache(tmp_path / "c", 40, SIDE)
    assert cache.finished
    for row in range(40):
        assert_same(cache.read(row), frame(row))
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_a_disk_too_small_is_told_beforehand(tmp_path):
    with pytest.raises(
        ValueError, match=r"--data.cache .*: 1000000000 decoded images of 299x299 need 268203.0 GB, and"
    ):
        DecodedCache(tmp_path / "c", 10**9, 299).read(0)


def test_a_disk_that_fills_up_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("os.pwrite", lambda descriptor, data, offset: 5)
    cache = DecodedCache(tmp_path / "c", 2, SIDE)
    with pytest.raises(ValueError, match=r"--data.cache .*cannot be written \(the disk is full\); free some space"):
        cache.write(0, frame(0))
    assert cache.read(0) is None


def test_files_removed_while_in_use_stay_readable(tmp_path):
    cache = DecodedCache(tmp_path / "c", 1, SIDE)
    cache.write(0, frame(0))
    shutil.rmtree(tmp_path / "c")
    assert np.array_equal(cache.read(0).pixels, frame(0).pixels)
