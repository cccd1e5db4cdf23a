"""What every source promises, asked of every source in the registry."""

import itertools
import re

import pytest
import torch

from datamodules.sources import MASK_SOURCES, SOURCES

every_source = pytest.mark.parametrize("name", SOURCES | MASK_SOURCES)
every_source_of_classes = pytest.mark.parametrize("name", SOURCES)
every_source_of_masks = pytest.mark.parametrize("name", MASK_SOURCES)


def splits_of(source):
    splits = {"train": source.train, "validation": source.validation, "test": source.test, "pool": source.unlabeled}
    return {name: split for name, split in splits.items() if split is not None}


@every_source
def test_ids_are_unique_over_all_splits_and_the_same_again(name, make_source):
    first, again = make_source(name), make_source(name)
    ids = torch.cat([split.ids for split in splits_of(first).values()])
    assert ids.dtype == torch.int64
    assert ids.min() >= 0
    assert len(ids.unique()) == len(ids)
    for split, same in zip(splits_of(first).values(), splits_of(again).values(), strict=True):
        assert torch.equal(split.ids, same.ids)
        assert torch.equal(split.targets, same.targets)
        rows = torch.arange(len(split))
        assert torch.equal(split.images(rows), same.images(rows))


@every_source
def test_splits_share_no_stored_image(name, make_source):
    for one, other in itertools.combinations(splits_of(make_source(name)).values(), 2):
        if one.reader is other.reader:
            assert not set(one.rows.tolist()) & set(other.rows.tolist())
        elif one.paths is not None:
            assert not set(one.paths) & set(other.paths)


@every_source
def test_images_are_uint8_of_one_size(name, make_source):
    source = make_source(name)
    shapes = set()
    for split in splits_of(source).values():
        images, kept = split.read(torch.tensor([len(split) - 1, 0, 1]))
        assert images.dtype == torch.uint8
        assert images.is_contiguous()
        assert kept.tolist() == [0, 1, 2]
        assert not torch.equal(images[0], images[1])
        shapes.add(tuple(images.shape))
    assert len(shapes) == 1
    assert shapes.pop()[:2] == (3, source.num_channels)


@every_source_of_classes
def test_targets_are_classes_and_the_pool_has_none(name, make_source):
    source = make_source(name)
    for split in (source.train, source.test):
        assert split.targets.dtype == torch.int64
        assert set(split.targets.tolist()) == set(range(source.num_classes))
    if source.unlabeled is not None:
        assert set(source.unlabeled.targets.tolist()) == {-1}


@every_source_of_masks
def test_masks_fit_their_images_and_the_pool_has_none(name, make_source):
    source = make_source(name)
    for split in (source.train, source.test):
        indices = torch.tensor([2, 0])
        masks = split.read_targets(indices)
        assert masks.dtype == torch.uint8
        assert masks.shape[1:] == split.images(indices).shape[2:]
        assert set(masks.unique().tolist()) <= {*range(source.num_classes), 255}
        assert torch.equal(split.select(indices).read_targets(torch.tensor([1])), masks[1:])
        assert set(split.targets.tolist()) == {0}
    if source.unlabeled is not None:
        assert set(source.unlabeled.targets.tolist()) == {-1}
        assert (source.unlabeled.read_targets(torch.tensor([0])) == 255).all()


@every_source
def test_it_says_what_it_is(name, make_source):
    source = make_source(name)
    assert source.name == name
    assert (
        len(set(source.class_names)) == source.num_classes == (100 if name == "cifar100" else len(source.class_names))
    )
    assert all(source.class_names)
    published = re.fullmatch(r"[A-Z][^()]+ \((19|20)\d\d\)\. [A-Z].+\.", source.citation)
    assert published or name in ("image_folder", "mask_folder")
    assert source.num_skipped == 0


@every_source
def test_statistics_are_those_of_the_training_pixels(name, make_source):
    source = make_source(name)
    pixels = source.train.images(torch.arange(len(source.train))).double() / 255
    assert source.mean == pytest.approx(pixels.mean((0, 2, 3)).tolist(), abs=6e-5)
    assert source.std == pytest.approx(pixels.std((0, 2, 3), correction=0).tolist(), abs=6e-5)


@every_source
def test_a_selection_reads_its_own_images(name, make_source):
    train = make_source(name).train
    chosen = train.select(torch.tensor([5, 2]))
    assert torch.equal(chosen.images(torch.tensor([1])), train.images(torch.tensor([2])))
    assert chosen.ids.tolist() == train.ids[[5, 2]].tolist()
    assert chosen.paths is None or list(chosen.paths) == [train.paths[5], train.paths[2]]
