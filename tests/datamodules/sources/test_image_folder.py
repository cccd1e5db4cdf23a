import os
import tracemalloc
from unittest import mock

import pytest
import torch

from datamodules.augmentation.keys import sample_keys
from datamodules.sources import create_source
from datamodules.sources.folder_reader import Reading
from datamodules.sources.image_folder import list_split, samples_of
from datamodules.sources.listing import fingerprint, image_files
from datamodules.sources.paths import PathList
from experiments.benchmarks.folders import SimulatedFolder

from .layouts import write_folder, write_photograph


@pytest.fixture
def root(tmp_path):
    write_folder(tmp_path / "photos")
    return tmp_path / "photos"


def folder_source(root, **options):
    return create_source("image_folder", root=root, image_size=16, **options)


def test_classes_paths_and_targets(root):
    source = folder_source(root)
    assert source.class_names == ("cat", "dog")
    assert list(source.test.paths) == [f"test/{name}/{k}.jpg" for name in ("cat", "dog") for k in range(3)]
    assert source.test.targets.tolist() == [0, 0, 0, 1, 1, 1]
    assert len(source.validation) == 4
    assert list(source.unlabeled.paths) == [f"unlabeled/deep/{k}.png" for k in ("down_0/0", "down_0/2", "down_1/1")]


def test_hidden_and_left_behind_folders_are_no_classes(root):
    for name in (".git", ".ipynb_checkpoints", "__MACOSX"):
        write_photograph(root / "train" / name / "0.jpg")
    write_photograph(root / "train" / "cat" / ".ipynb_checkpoints" / "0.jpg")
    write_photograph(root / "train" / "cat" / "._0.jpg")
    (root / "train" / "notes.txt").write_text("no class")
    (root / "train" / "cat" / "notes.txt").write_text("no image")
    source = folder_source(root)
    assert source.class_names == ("cat", "dog")
    assert len(source.train) == 8


def test_images_deeper_in_a_class_and_with_capital_suffixes_count(root):
    (root / "train" / "cat" / "0.jpg").rename(root / "train" / "cat" / "0.JPG")
    (root / "train" / "cat" / "more").mkdir()
    (root / "train" / "cat" / "1.jpg").rename(root / "train" / "cat" / "more" / "1.jpeg")
    assert len(folder_source(root).train) == 8


def test_a_link_back_to_a_parent_ends(root):
    os.symlink(root / "unlabeled", root / "unlabeled" / "deep" / "loop")
    assert len(folder_source(root).unlabeled) == 3


def test_adding_files_changes_no_id(root):
    before = folder_source(root).train
    ids = dict(zip(before.paths, before.ids.tolist(), strict=True))
    write_photograph(root / "train" / "cat" / "00.jpg")
    after = folder_source(root).train
    assert {path: ids.get(path, -1) for path in after.paths}.items() >= ids.items()
    assert all(ids.get(path, id_) == id_ for path, id_ in zip(after.paths, after.ids.tolist(), strict=True))


def test_validation_and_pool_may_be_missing(tmp_path):
    for split in ("train", "test"):
        write_photograph(tmp_path / split / "cat" / "0.jpg")
    source = folder_source(tmp_path)
    assert source.validation is None
    assert source.unlabeled is None


def test_a_pool_outside_the_root(root, tmp_path):
    write_photograph(tmp_path / "pool" / "a" / "0.jpg", seed=5)
    pool = folder_source(root, unlabeled=tmp_path / "pool").unlabeled
    assert list(pool.paths) == ["../pool/a/0.jpg"]
    assert pool.images(torch.tensor([0])).shape == (1, 3, 16, 16)


def remove(path):
    for file in sorted(path.rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    path.rmdir()


def empty_class(root):
    (root / "train" / "bird").mkdir()


def no_test(root):
    remove(root / "test")


def no_classes(root):
    remove(root / "train")
    write_photograph(root / "train" / "0.jpg")


def unknown_class(root):
    write_photograph(root / "val" / "bird" / "0.jpg")


def misnamed_validation(root):
    (root / "val").rename(root / "validation")


def empty_pool(root):
    remove(root / "unlabeled")
    (root / "unlabeled").mkdir()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (empty_class, r"the class folder train/bird/ has no images \(.jpg, .png, .webp\); remove it"),
        (no_test, r"has no folder test/, expected train/CLASS/\*.jpg and test/CLASS/\*.jpg; move .*rename it"),
        (no_classes, r"train/ has no folders, expected one for each class"),
        (unknown_class, r"folder val/: unknown classes 'bird' \(1 in all\); those of the training images are cat, dog"),
        (misnamed_validation, r"has a folder validation/, expected val/; rename it"),
        (empty_pool, r"--data.unlabeled .*unlabeled: has no images .* at any depth"),
    ],
)
def test_folders_that_are_wrong(root, change, text):
    change(root)
    with pytest.raises(ValueError, match=text):
        folder_source(root)


def test_a_root_that_is_missing(tmp_path):
    with pytest.raises(ValueError, match=r"--data.root .*nowhere: expected a folder with train/CLASS"):
        folder_source(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"--data.root None: expected"):
        create_source("image_folder")


def test_an_unlabelled_folder_that_is_missing(root):
    with pytest.raises(ValueError, match=r"--data.unlabeled .*nowhere: no such folder"):
        folder_source(root, unlabeled=root / "nowhere")


def test_a_pool_that_holds_labelled_images_is_refused(root):
    with pytest.raises(ValueError, match=r"--data.root: '[a-z]+/\S+' is listed twice \(\d+ such pairs\)"):
        folder_source(root, unlabeled=root)


def write_manifest(root, *rows, header="path,label,split"):
    (root / "table.csv").write_text("\n".join([header, *rows]) + "\n")
    return root / "table.csv"


GOOD = ("train/cat/0.jpg,tabby,train", "train/dog/0.jpg,collie,train", "test/dog/0.jpg,collie,test")


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_manifest_says_what_is_what(root, suffix):
    rows = (*GOOD, "./val/cat/0.jpg,tabby,val", "train/cat/1.jpg,,train", "val/dog/1.jpg,,", "val/dog/0.jpg,,unlabeled")
    manifest = write_manifest(root, *rows)
    if suffix == "parquet":
        from pyarrow import csv, parquet

        parquet.write_table(csv.read_csv(manifest), root / "table.parquet")
    source = create_source("image_folder", manifest=root / f"table.{suffix}", image_size=16)
    assert source.class_names == ("collie", "tabby")
    assert source.train.targets.tolist() == [1, 0]
    assert list(source.validation.paths) == ["val/cat/0.jpg"]
    assert list(source.unlabeled.paths) == ["train/cat/1.jpg", "val/dog/1.jpg", "val/dog/0.jpg"]
    folders = folder_source(root)
    assert (
        source.test.ids.tolist()
        == folders.test.ids[list(folders.test.paths).index("test/dog/0.jpg")].unsqueeze(0).tolist()
    )


def test_numbers_as_labels_stay_text(root):
    manifest = write_manifest(root, "train/cat/0.jpg,007,train", "test/cat/0.jpg,007,test")
    assert create_source("image_folder", manifest=manifest, image_size=16).class_names == ("007",)


def test_absolute_paths_in_a_manifest(root, tmp_path):
    (tmp_path / "tables").mkdir()
    rows = [f"{root}/{row}" for row in GOOD]
    manifest = write_manifest(tmp_path / "tables", *rows)
    source = create_source("image_folder", manifest=manifest, root=root, image_size=16)
    assert list(source.train.paths) == ["train/cat/0.jpg", "train/dog/0.jpg"]


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        (
            (*GOOD, "gone.jpg,tabby,train"),
            r"table.csv: 1 of 4 files do not exist in .*photos: gone.jpg; correct the paths",
        ),
        ((*GOOD, "val/cat/0.jpg,wolf,val"), r"table.csv: unknown classes 'wolf' \(1 in all\); .* are collie, tabby"),
        ((*GOOD, "val/cat/0.jpg,tabby,vall"), r"row 4: unknown split 'vall', expected one of train, val, "),
        ((*GOOD, "val/cat/0.jpg,tabby,"), r"row 4: unknown split '', expected one of"),
        ((*GOOD, "val/cat/0.jpg,,test"), r"row 4: label '' in the split 'test'; an unlabelled image"),
        ((*GOOD, "val/cat/0.jpg,tabby,unlabeled"), r"row 4: label 'tabby' in the split 'unlabeled'"),
        (GOOD[:2], r"no row with a label is in the split 'test'"),
        ((*GOOD, "test/../train/cat/0.jpg,tabby,test"), r"'train/cat/0.jpg' is listed twice"),
    ],
)
def test_rows_that_are_wrong(root, rows, text):
    with pytest.raises(ValueError, match=text):
        create_source("image_folder", manifest=write_manifest(root, *rows), image_size=16)


def test_a_manifest_without_a_column(root):
    manifest = write_manifest(root, "train/cat/0.jpg,train", header="path,split")
    with pytest.raises(ValueError, match=r"has the columns path,split, expected path,label,split; add label"):
        create_source("image_folder", manifest=manifest)


@pytest.mark.parametrize("name", ["none.csv", "bad.parquet"])
def test_a_manifest_that_cannot_be_read(root, name):
    (root / "bad.parquet").write_bytes(b"no table")
    with pytest.raises(
        ValueError, match=rf"--data.manifest .*{name}: cannot be read .*expected a CSV or Parquet table"
    ):
        create_source("image_folder", manifest=root / name)


def test_two_pools_are_refused(root):
    manifest = write_manifest(root, *GOOD, "train/cat/1.jpg,,")
    with pytest.raises(ValueError, match=r"--data.unlabeled .*: the manifest has unlabelled rows too"):
        create_source("image_folder", manifest=manifest, unlabeled=root / "unlabeled")


def test_the_cache_is_left_when_a_file_changes(root, tmp_path):
    def first_image():
        train = folder_source(root, cache=tmp_path / "cache").train
        return train.images(torch.tensor([0]), sample_keys(0, torch.tensor([0]), torch.tensor([0])))

    before = first_image()
    assert torch.equal(first_image(), before)
    write_photograph(root / "train" / "cat" / "0.jpg", seed=77)
    assert not torch.equal(first_image(), before)
    assert len(list((tmp_path / "cache").glob("train-*-frames-22"))) == 2


def test_the_fingerprint_follows_names_sizes_and_times(root):
    paths = PathList.of(image_files(root, "train"))
    seen = {fingerprint(root, paths), fingerprint(root, paths[1:])}
    file = root / paths[0]
    os.utime(file, ns=(1, 1))
    seen.add(fingerprint(root, paths))
    file.write_bytes(file.read_bytes() + b"\0")
    os.utime(file, ns=(1, 1))
    seen.add(fingerprint(root, paths))
    file.unlink()
    seen.add(fingerprint(root, paths))
    assert len(seen) == 5


def test_statistics_do_not_fill_the_cache(root, tmp_path):
    folder_source(root, cache=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_a_path_takes_less_than_two_hundred_bytes(tmp_path):
    names = tuple(f"class_{k:04}" for k in range(40))
    with (
        mock.patch("datamodules.sources.listing.os.scandir", SimulatedFolder),
        mock.patch("datamodules.sources.listing.os.stat"),
        mock.patch("experiments.benchmarks.folders.NUM_FOLDERS", 40),
        mock.patch("experiments.benchmarks.folders.NUM_PATHS", 40_000),
    ):
        tracemalloc.start()
        samples = samples_of(tmp_path, "train", list_split(tmp_path, "train", names), Reading())
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert len(samples) == 40_000
    assert samples.paths[39_999] == "train/class_0039/photograph_0039_00000999.jpg"
    assert samples.targets[39_999] == 39
    assert peak < 8e6, f"{peak / 40_000:.0f} bytes a path, expected below 200"
