"""Oxford-IIIT Pet, Pascal VOC 2012 and Cityscapes: known values from small files in their true layout."""

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules.sources import create_source
from datamodules.sources.mask_coding import IGNORE_INDEX

from .mask_layouts import SIZES, random_mask, write_cityscapes, write_pets, write_voc

WRITERS = {"oxford_pets": write_pets, "voc2012": write_voc, "cityscapes": write_cityscapes}


def classes_read(name, root, **options):
    WRITERS[name](root)
    source = create_source(name, root=root, **options)
    return source, source.train.read_targets(torch.arange(len(source.train)))


def test_trimaps_count_from_zero_and_squares_stay_as_they_are(tmp_path):
    source, masks = classes_read("oxford_pets", tmp_path, image_size=30)
    assert source.class_names == ("pet", "background", "border")
    assert torch.equal(masks[2], torch.from_numpy(random_mask(2, [1, 2, 3], 30, 30) - 1))
    with Image.open(tmp_path / source.train.paths[2]) as opened:
        image = np.asarray(opened).transpose(2, 0, 1)
    assert np.array_equal(source.train.images(torch.tensor([2]))[0].numpy(), image)
    assert len(source.train) == len(source.test) == 6


def test_voc_keeps_its_classes_and_what_it_ignores(tmp_path):
    source, masks = classes_read("voc2012", tmp_path, image_size=40)
    assert len(source.class_names) == 21
    assert source.class_names[15] == "person"
    width, height = SIZES[0]
    assert torch.equal(masks[0, 5:35], torch.from_numpy(random_mask(0, [0, 15, 20, 255], width, height)))
    assert (masks[0, :5] == 255).all()
    assert (masks[0, 35:] == 255).all()
    image = source.train.images(torch.tensor([0]))[0]
    assert (image[:, :5] == 0).all()
    assert (image[:, 5:35] > 0).any()


def test_cityscapes_has_its_training_classes(tmp_path):
    source, masks = classes_read("cityscapes", tmp_path, image_size=40)
    assert (len(source.class_names), source.class_names[0], source.class_names[-1]) == (19, "road", "bicycle")
    assert masks.shape[1:] == (20, 40)
    table = np.zeros(34, np.uint8)
    table[[0, 7, 26, 33]] = [IGNORE_INDEX, 0, 13, 18]
    number = int(source.train.paths[0].split("_")[1])
    assert torch.equal(masks[0], torch.from_numpy(table[random_mask(number, [0, 7, 26, 33], 40, 20)]))
    assert list(source.train.paths) == sorted(source.train.paths)


@pytest.mark.parametrize("name", WRITERS)
def test_missing_files_are_told_with_the_place_and_the_remedy(name, tmp_path):
    with pytest.raises(ValueError, match=rf"--data.source {name}: .*{tmp_path}.*--data.root"):
        create_source(name, root=tmp_path)


@pytest.mark.parametrize("name", WRITERS)
def test_an_empty_size_is_refused(name, tmp_path):
    with pytest.raises(ValueError, match=r"--data.image_size: given 0, expected at least 1"):
        create_source(name, root=tmp_path, image_size=0 if name != "cityscapes" else 1)


@pytest.mark.parametrize("name", ["oxford_pets", "voc2012"])
def test_published_files_can_be_fetched(name, tmp_path, monkeypatch):
    fetched = []

    def fetch(*arguments, **_):
        fetched.append(arguments)
        WRITERS[name](tmp_path)

    module = {"oxford_pets": "oxford_iiit_pet", "voc2012": "voc"}[name]
    monkeypatch.setattr(f"torchvision.datasets.{module}.download_and_extract_archive", fetch)
    assert len(create_source(name, root=tmp_path, download=True, image_size=16).train) == 6
    assert fetched
