"""Folders of images with masks: how they are read, and what is said of everything that is wrong with them."""

import json
import re

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from datamodules.sources import create_source
from datamodules.sources.paired_files import Frame, nearest

from .layouts import write_photograph
from .mask_layouts import FOLDER_CLASSES, random_mask, write_color_mask, write_mask, write_mask_folder

NUM_FLAT = 10


@pytest.fixture
def folder(tmp_path):
    write_mask_folder(tmp_path)
    return tmp_path


@pytest.fixture
def flat(tmp_path):
    """Without splits: indexed masks of three classes, named in a list."""
    for k in range(NUM_FLAT):
        write_photograph(tmp_path / "images" / f"{k}.jpg", k)
        write_mask(tmp_path / "masks" / f"{k}.png", random_mask(k, [0, 1, 2, 255], 40, 30))
    (tmp_path / "classes.json").write_text(json.dumps(["sky", "tree", "road"]))
    return tmp_path


def read(root, **options):
    return create_source("mask_folder", root=root, image_size=40, **options)


def read_all(samples):
    return samples.read_targets(torch.arange(len(samples)))


def test_colours_become_classes_in_the_order_of_the_file(folder):
    source = read(folder)
    assert source.class_names == ("sky", "tree", "road")
    assert [len(s) for s in (source.train, source.validation, source.test, source.unlabeled)] == [6, 2, 3, 2]
    expected = torch.from_numpy(random_mask(0, [0, 1, 2, 3], 40, 30))
    assert source.train.paths[0] == "images/train/deep/0.jpg"
    assert torch.equal(read_all(source.train)[0, 5:35], expected.masked_fill(expected == 3, 255))


def test_an_indexed_mask_with_those_colours_is_read_by_colour(folder):
    path = folder / "masks" / "train" / "deep" / "0.png"
    before = read_all(read(folder).train)
    with Image.open(path) as image:
        indexed = image.quantize(4)
    assert indexed.mode == "P"
    indexed.save(path)
    assert torch.equal(read_all(read(folder).train), before)


def test_values_are_classes_where_names_alone_are_given(flat):
    source = read(flat, test_fraction=0.3)
    assert source.class_names == ("sky", "tree", "road")
    for samples in (source.train, source.test):
        for path, mask in zip(samples.paths, read_all(samples), strict=True):
            number = int(path.removeprefix("images/").removesuffix(".jpg"))
            assert torch.equal(mask[5:35], torch.from_numpy(random_mask(number, [0, 1, 2, 255], 40, 30)))


def test_a_grey_mask_is_read_as_an_indexed_one(flat):
    before = read_all(read(flat, test_fraction=0.3).train)
    for k in range(NUM_FLAT):
        grey = Image.fromarray(random_mask(k, [0, 1, 2, 255], 40, 30))
        assert grey.mode == "L"
        grey.save(flat / "masks" / f"{k}.png")
    assert torch.equal(read_all(read(flat, test_fraction=0.3).train), before)


def test_a_fraction_is_chosen_by_the_names_alone(flat):
    source = read(flat, test_fraction=0.3)
    assert (len(source.train), len(source.test)) == (7, 3)
    assert not set(source.train.paths) & set(source.test.paths)
    assert list(read(flat, test_fraction=0.3).test.paths) == list(source.test.paths)


def test_another_file_of_classes_can_be_named(flat, tmp_path):
    other = tmp_path / "other.yaml"
    other.write_text("[a, b, c]")
    assert read(flat, test_fraction=0.3, class_file=other).class_names == ("a", "b", "c")


def test_image_and_mask_come_to_lie_in_the_same_place(folder):
    source = create_source("mask_folder", root=folder, image_size=20)
    images, masks = source.train.images(torch.arange(6)), read_all(source.train)
    for (width, height), image, mask in zip([(40, 30), (24, 36), (30, 30)], images, masks, strict=False):
        top, left, fitted_height, fitted_width = Frame(20, 20).place(height, width)
        assert max(fitted_height, fitted_width) == 20
        assert abs(fitted_width / fitted_height - width / height) < 0.1
        outside = torch.ones(20, 20, dtype=torch.bool)
        outside[top : top + fitted_height, left : left + fitted_width] = False
        assert (image[:, outside] == 0).all()
        assert (mask[outside] == 255).all()


@pytest.mark.parametrize("size", [(30, 40), (15, 20), (60, 80), (13, 51)])
def test_masks_are_resized_as_pillow_takes_the_nearest(size):
    mask = torch.from_numpy(random_mask(3, list(range(9)), 40, 30))
    reference = Image.fromarray(mask.numpy()).resize(size[::-1], Image.Resampling.NEAREST)
    assert torch.equal(nearest(mask, *size), torch.from_numpy(np.array(reference)))


def test_frames_are_filled_as_far_as_the_shape_allows():
    assert Frame(100, 100).place(50, 25) == (0, 25, 100, 50)
    assert Frame(100, 200).place(10, 40) == (25, 0, 50, 200)
    assert Frame(8, 8).place(1, 10_000) == (3, 0, 1, 8)


def test_a_mask_of_another_size_is_refused_with_both_files(folder):
    mask = folder / "masks" / "train" / "deep" / "0.png"
    write_color_mask(mask, random_mask(0, [0], 30, 40), [FOLDER_CLASSES["sky"]])
    text = rf"{re.escape(str(mask))}: the mask has 30x40 pixels, its image .*train/deep/0.jpg 40x30; expected the same"
    with pytest.raises(ValueError, match=text):
        read_all(read(folder).train)


def test_a_value_of_no_class_is_refused_with_file_and_value(flat):
    mask = random_mask(4, [0, 1], 40, 30)
    mask[7, 3] = 9
    path = write_mask(flat / "masks" / "4.png", mask)
    source = read(flat, test_fraction=0.3)
    text = (
        rf"{re.escape(str(path))}: the mask has 9 in row 7, column 3 \(1 such pixels\), expected one of 0, 1, 2, or 255"
    )
    with pytest.raises(ValueError, match=text):
        (read_all(source.train), read_all(source.test))


def test_values_beyond_a_byte_are_refused(flat):
    path = flat / "masks" / "4.png"
    Image.fromarray(np.full((30, 40), 256, np.uint16)).save(path)
    source = read(flat, test_fraction=0.3)
    with pytest.raises(ValueError, match=r"4.png: the mask has 256 in row 0, column 0"):
        (read_all(source.train), read_all(source.test))


def test_a_colour_mask_without_colours_is_refused(flat):
    write_color_mask(flat / "masks" / "4.png", random_mask(0, [0], 40, 30), [[1, 2, 3]])
    source = read(flat, test_fraction=0.3)
    with pytest.raises(
        ValueError, match=r"4.png: a mask of Pillow's mode RGB, expected an indexed or grey PNG.*class_f"
    ):
        (read_all(source.train), read_all(source.test))


def test_a_colour_of_no_class_is_refused_with_file_and_colour(folder):
    path = folder / "masks" / "train" / "deep" / "0.png"
    write_color_mask(path, random_mask(0, [0], 40, 30), [[0, 0, 254]])
    text = (
        rf"{re.escape(str(path))}: the mask has \[0, 0, 254\] in row 0, column 0 \(1200 such pixels\), expected one of"
    )
    with pytest.raises(ValueError, match=text):
        read_all(read(folder).train)


@pytest.mark.parametrize(
    ("gone", "text"),
    [
        ("masks", r"1 files without mask, such as images/train/deep/0.jpg; expected .* masks/train/"),
        ("images", r"1 files without image, such as masks/train/deep/0.png; expected .* images/train/"),
    ],
)
def test_an_image_or_mask_alone_is_named(folder, gone, text):
    next((folder / gone / "train" / "deep").glob("0.*")).unlink()
    with pytest.raises(ValueError, match=text):
        read(folder)


def test_jpeg_masks_are_refused_with_the_reason(folder):
    path = folder / "masks" / "train" / "deep" / "0.png"
    with Image.open(path) as image:
        image.save(path.with_suffix(".jpg"))
    path.unlink()
    with pytest.raises(ValueError, match=r"0.jpg: the mask is a JPEG file, expected PNG: JPEG and WebP are lossy"):
        read(folder)


def test_a_jpeg_by_another_name_is_refused_too(folder):
    path = folder / "masks" / "train" / "deep" / "0.png"
    with Image.open(path) as image:
        image.load()
        image.save(path, format="JPEG")
    with pytest.raises(ValueError, match=r"0.png: the mask is a JPEG file, expected PNG"):
        read_all(read(folder).train)


def test_a_damaged_mask_is_named(folder):
    path = folder / "masks" / "train" / "deep" / "0.png"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match=rf"{re.escape(str(path))}: cannot be read as an image"):
        read_all(read(folder).train)


def test_large_files_are_refused_before_they_are_decoded(folder):
    with pytest.raises(ValueError, match=r"pixels are more than --data.max_pixels 900"):
        read(folder, max_pixels=900)


def damage(root, case):
    classes = root / "classes.yaml"
    if case == "no test":
        (root / "images" / "test").rename(root / "images" / "tests")
    elif case == "no masks":
        (root / "masks" / "val").rename(root / "masks" / "validation")
    elif case == "no classes":
        classes.unlink()
    elif case == "twice":
        write_photograph(root / "images" / "train" / "deep" / "0.png", 0)
    elif case == "empty":
        for kind in ("images", "masks"):
            (root / kind / "val" / "deep").rename(root / f"{kind}_of_val")
    else:
        classes.write_text(case)


@pytest.mark.parametrize(
    ("case", "text"),
    [
        ("no test", r"images/ has no folder test/, expected train/, test/ and perhaps val/"),
        ("no masks", r"has images/val/ but no masks/val/, expected both"),
        ("no classes", r"--data.class_file: none given, and none of classes.yaml, classes.json"),
        ("twice", r"images/train/deep/0.jpg and images/train/deep/0.png have the same name but for the ending"),
        ("empty", r"images/val/ has no images"),
        ("{", r"classes.yaml: cannot be read"),
        ("sky", r"expected a list of class names, or \{class name: \[red, green, blue\]\}, got sky"),
        ("[no, yes]", "names such as yes and no need quotes"),
        ("[sky]", "got the classes sky, expected 2 to 255, each named once"),
        ("[sky, sky]", "got the classes sky, sky, expected 2 to 255, each named once"),
        ("{sky: [0, 0, 256], road: [0, 0, 0]}", r"sky has the colour \[0, 0, 256\], expected red, green and blue"),
        ("{sky: blue, road: [0, 0, 0]}", "sky has the colour 'blue'"),
        ("{sky: [0, 0, 0], road: [0, 0, 0]}", r"the colour \[0, 0, 0\] stands for two classes, road being one"),
    ],
)
def test_wrong_folders_and_class_files_are_told(folder, case, text):
    damage(folder, case)
    with pytest.raises(ValueError, match=text):
        read(folder)


@pytest.mark.parametrize("fraction", [None, 0.0, 1.0, 0.01])
def test_a_fraction_that_leaves_nothing_is_refused(flat, fraction):
    with pytest.raises(ValueError, match=rf"--data.test_fraction: got {fraction}, expected the share, between 0 and 1"):
        read(flat, test_fraction=fraction)


def test_a_fraction_beside_folders_of_splits_is_refused(folder):
    with pytest.raises(ValueError, match=r"--data.test_fraction 0.3: .*images has folders of splits already"):
        read(folder, test_fraction=0.3)


def test_without_a_folder_the_layout_is_told(tmp_path):
    for root in (None, tmp_path):
        with pytest.raises(ValueError, match=r"--data.root .*: expected a folder with images/ and masks/"):
            create_source("mask_folder", root=root)


def test_ignored_colours_are_named_ignore(folder):
    classes = yaml.safe_load((folder / "classes.yaml").read_text())
    classes.pop("ignore")
    (folder / "classes.yaml").write_text(yaml.safe_dump(classes))
    with pytest.raises(ValueError, match=r"the mask has \[255, 255, 255\]"):
        read_all(read(folder).train)
