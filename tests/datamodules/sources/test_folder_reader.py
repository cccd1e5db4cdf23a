import re

import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from datamodules.augmentation.keys import sample_keys
from datamodules.sources.folder_reader import FolderReader, Reading
from datamodules.sources.paths import PathList

from .layouts import write_photograph

SIZE, COUNT = 24, 6


def keys_of(epoch, rows=None):
    rows = torch.arange(COUNT) if rows is None else rows
    return sample_keys(0, torch.full_like(rows, epoch), rows)


@pytest.fixture
def folder(tmp_path):
    for k in range(COUNT):
        write_photograph(tmp_path / f"{k}.jpg", seed=k, width=80, height=60)
    return tmp_path


def reader_of(folder, cache_name=None, **options):
    paths = PathList.of(f"{k}.jpg" for k in range(COUNT))
    return FolderReader.of(folder, paths, Reading(SIZE, **options), cache_name)


ROWS = torch.arange(COUNT)


def test_a_random_view_depends_on_its_row_and_key_alone(folder):
    reader = reader_of(folder)
    images, kept = reader(ROWS, keys_of(0))
    assert images.shape == (COUNT, 3, SIZE, SIZE)
    assert kept.tolist() == list(range(COUNT))
    order = torch.tensor([4, 1])
    assert torch.equal(reader(order, keys_of(0)[order])[0], images[order])
    assert not torch.equal(reader(ROWS, keys_of(1))[0], images)


def test_the_view_of_evaluation_is_torchvisions(folder):
    transform = v2.Compose([v2.PILToTensor(), v2.Resize(27, antialias=True), v2.CenterCrop(SIZE)])
    reference = torch.stack([transform(Image.open(folder / f"{k}.jpg")) for k in range(COUNT)])
    assert torch.equal(reader_of(folder)(ROWS, None)[0], reference)


def test_worker_processes_give_the_same_pixels(folder):
    reader = reader_of(folder)
    keys = keys_of(0)

    def read(batch):
        rows = torch.tensor(batch)
        return reader(rows, keys[rows])[0]

    loader = DataLoader(list(range(COUNT)), batch_size=2, num_workers=2, collate_fn=read)
    assert torch.equal(torch.cat(list(loader)), reader(ROWS, keys)[0])


def test_the_cache_gives_the_same_crops(folder, tmp_path):
    plain, cached = reader_of(folder), reader_of(folder, "train", cache=tmp_path / "cache", cache_side=96)
    for epoch in (0, 1):
        difference = plain(ROWS, keys_of(epoch))[0].int() - cached(ROWS, keys_of(epoch))[0].int()
        assert difference.abs().float().mean() < 3
    assert (cached(ROWS, keys_of(0))[0].int() - cached(ROWS, keys_of(1))[0].int()).abs().float().mean() > 10


def test_a_view_is_the_same_before_and_after_it_was_stored(folder, tmp_path):
    cached = reader_of(folder, "train", cache=tmp_path / "cache")
    first = cached(ROWS, keys_of(3))[0]
    assert torch.equal(cached(ROWS, keys_of(3))[0], first)
    assert torch.equal(reader_of(folder, "train", cache=tmp_path / "cache")(ROWS, keys_of(3))[0], first)


def test_evaluation_is_exact_with_the_cache(folder, tmp_path):
    cached = reader_of(folder, "val", cache=tmp_path / "cache")
    for _ in range(2):
        assert torch.equal(cached(ROWS, None)[0], reader_of(folder)(ROWS, None)[0])


def test_after_the_first_epoch_no_file_is_opened(folder, tmp_path):
    cached = reader_of(folder, "train", cache=tmp_path / "cache")
    cached(ROWS, keys_of(0)), cached(ROWS, None)
    assert cached.frames.finished
    assert cached.views.finished
    for k in range(COUNT):
        (folder / f"{k}.jpg").unlink()
    cached(ROWS, keys_of(1)), cached(ROWS, None)


def break_files(folder, *rows):
    for row in rows:
        path = folder / f"{row}.jpg"
        path.write_bytes(path.read_bytes()[:-300])


def test_a_bad_file_is_named(folder):
    break_files(folder, 3)
    with pytest.raises(ValueError, match=re.escape(f"{folder}/3.jpg: cannot be read as an image")):
        reader_of(folder)(ROWS, None)


@pytest.mark.parametrize("cache_name", [None, "train"])
def test_a_skipped_image_leaves_its_row_out(folder, tmp_path, cache_name, caplog):
    whole = reader_of(folder)(ROWS, keys_of(0))[0]
    break_files(folder, 1, 4)
    options = {"cache": tmp_path / "cache", "cache_side": 96} if cache_name else {}
    reader = reader_of(folder, cache_name, on_bad_image="skip", **options)
    for _ in range(2):
        images, kept = reader(ROWS, keys_of(0))
        assert kept.tolist() == [0, 2, 3, 5]
        assert len(images) == 4
        assert (images.int() - whole[kept].int()).abs().float().mean() < 3
    assert reader.num_skipped == 2
    assert caplog.text.count("1.jpg: cannot be read") == 1
    assert cache_name is None or reader.frames.finished


def test_a_file_repaired_after_its_cache_was_finished_is_decoded(folder, tmp_path):
    whole = (folder / "1.jpg").read_bytes()
    break_files(folder, 1)
    options = {"cache": tmp_path / "cache", "on_bad_image": "skip"}
    reader_of(folder, "train", **options)(ROWS, keys_of(0))
    (folder / "1.jpg").write_bytes(whole)
    again = reader_of(folder, "train", **options)
    assert again.frames.finished
    assert len(again(ROWS, keys_of(0))[1]) == COUNT
    assert again.num_skipped == 0


def test_all_images_of_a_batch_may_be_skipped(folder):
    break_files(folder, 1)
    images, kept = reader_of(folder, on_bad_image="skip")(torch.tensor([1]), None)
    assert images.shape == (0, 3, SIZE, SIZE)
    assert kept.shape == (0,)
    assert kept.dtype == torch.int64


def test_what_workers_skip_is_counted_once(folder):
    break_files(folder, 0, 5)
    reader = reader_of(folder, on_bad_image="skip")

    def read(batch):
        return reader(torch.tensor(batch), None)[1]

    loader = DataLoader([*range(COUNT), *range(COUNT)], batch_size=3, num_workers=2, collate_fn=read)
    assert sum(len(kept) for kept in loader) == 2 * (COUNT - 2)
    assert reader.num_skipped == 2


def test_more_bad_images_than_allowed_are_an_error(folder):
    break_files(folder, 0, 1, 2)
    reader = reader_of(folder, on_bad_image="skip", max_bad_images=2)
    with pytest.raises(
        ValueError, match=r"--data.max_bad_images 2: 3 images of a split cannot be read, the last .*2.jpg"
    ):
        reader(ROWS, None)


def test_a_bomb_is_refused_or_skipped(folder):
    with pytest.raises(ValueError, match=r"0.jpg: 80x60 pixels are more than --data.max_pixels 4799"):
        reader_of(folder, max_pixels=4799)(ROWS, None)
    assert len(reader_of(folder, max_pixels=4799, on_bad_image="skip")(ROWS, None)[1]) == 0


@pytest.mark.parametrize(
    ("option", "value", "text"),
    [
        ("image_size", 0, "--data.image_size: given 0, expected at least 1"),
        ("crop_scale", (0.5, 0.2), r"--data.crop_scale: given \(0.5, 0.2\), expected two ascending numbers"),
        ("crop_scale", (0.0, 1.0), "--data.crop_scale"),
        ("crop_ratio", (2.0, 1.0), "--data.crop_ratio"),
        ("max_pixels", 0, "--data.max_pixels"),
        ("on_bad_image", "ignore", "--data.on_bad_image: given ignore, expected raise or skip"),
        ("max_bad_images", -1, "--data.max_bad_images"),
        ("cache_side", 100, r"--data.cache_side: given 100, expected at least image_size \(224\)"),
        ("cache_side", 300, "--data.cache_side: given 300, expected a folder in --data.cache"),
    ],
)
def test_options_that_make_no_sense(option, value, text):
    with pytest.raises(ValueError, match=text):
        Reading(**{option: value})
