import hashlib
import pickle

import pytest
import torch

from datamodules.sources.paths import PathList, check_unique, path_ids

NAMES = ["train/cat/1.jpg", "", "été/ß.png", "a", "train/cat/1.jpg"]


def test_reads_like_a_list():
    paths = PathList.of(iter(NAMES))
    assert list(paths) == NAMES
    assert len(paths) == 5
    assert paths[-1] == NAMES[-1]
    assert list(paths[1:3]) == NAMES[1:3]
    assert "a" in paths
    with pytest.raises(IndexError):
        paths[5]


def test_empty_list():
    assert list(PathList.of([])) == []


def test_names_that_are_no_unicode_survive():
    assert list(PathList.of(["bad\udcff.jpg"])) == ["bad\udcff.jpg"]


def test_selection_shares_the_bytes():
    paths = PathList.of(NAMES)
    chosen = paths.select(torch.tensor([3, 0]))
    assert list(chosen) == [NAMES[3], NAMES[0]]
    assert list(chosen.select(torch.tensor([1]))) == [NAMES[0]]
    assert chosen.blob.data_ptr() == paths.blob.data_ptr()


def test_pickles():
    assert list(pickle.loads(pickle.dumps(PathList.of(NAMES)))) == NAMES


def test_ids_depend_on_the_path_alone():
    ids = path_ids(PathList.of(["a.jpg", "b.jpg"]))
    more = path_ids(PathList.of(["0.jpg", "b.jpg", "a.jpg"]))
    assert ids.tolist() == [more[2].item(), more[1].item()]
    digest = int.from_bytes(hashlib.blake2b(b"a.jpg", digest_size=8).digest(), "big")
    assert ids[0].item() == digest % 2**63


def test_ids_are_the_same_for_ever():
    assert path_ids(PathList.of(["train/cat/1.jpg"])).tolist() == [7495414494571353031]


def test_a_path_in_two_splits_is_refused():
    splits = [PathList.of(["a", "b"]), PathList.of(["c", "b"])]
    with pytest.raises(ValueError, match=r"--data.root: 'b' is listed twice \(1 such pairs\)"):
        check_unique([(path_ids(paths), paths) for paths in splits])


def test_a_collision_of_hashes_is_refused():
    paths = PathList.of(["a", "b", "c"])
    with pytest.raises(ValueError, match="'a' and 'c' have the same id"):
        check_unique([(torch.tensor([7, 8, 7]), paths)])


def test_distinct_ids_pass():
    paths = PathList.of(["a", "b", "c"])
    check_unique([(path_ids(paths), paths)])
