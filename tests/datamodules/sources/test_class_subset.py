"""A source's subset of classes: in memory and in folders."""

from dataclasses import replace

import pytest
import torch

from datamodules.labeled import LabeledDataModule
from datamodules.sources import create_source
from datamodules.sources.class_subset import select_classes
from datamodules.sources.statistics import channel_statistics
from experiments.building import build_source
from experiments.command_line import build_parser
from experiments.settings import DataSettings


def test_targets_become_the_order_given_and_ids_stay(make_source):
    source = make_source("fashion_mnist")
    subset = select_classes(source, [7, "Bag", 2])
    assert subset.class_names == ("Sneaker", "Bag", "Pullover")
    assert subset.num_classes == 3
    for before, after in ((source.train, subset.train), (source.test, subset.test)):
        old = dict(zip(before.ids.tolist(), before.targets.tolist(), strict=True))
        assert [[7, 8, 2][target] for target in after.targets.tolist()] == [old[i] for i in after.ids.tolist()]
        assert set(after.ids.tolist()) == {i for i, target in old.items() if target in (2, 7, 8)}
        place = before.ids.tolist().index(int(after.ids[-1]))
        last = after.images(torch.tensor([len(after) - 1]))
        assert torch.equal(last, before.images(torch.tensor([place])))


def test_all_classes_in_order_are_the_source_itself(make_source):
    source = make_source("fashion_mnist")
    assert select_classes(source, list(range(10))).fingerprint == source.fingerprint


def test_classes_and_their_order_enter_the_fingerprint(make_source):
    source = make_source("fashion_mnist")
    fingerprints = {select_classes(source, classes).fingerprint for classes in ([0, 1], [1, 0], [0, 2], [0, 1, 2])}
    assert len(fingerprints | {source.fingerprint}) == 5


def test_statistics_are_those_of_the_pixels_that_remain(make_source):
    source = make_source("fashion_mnist")
    subset = select_classes(source, [3, 4])
    pixels = source.train.images(((source.train.targets == 3) | (source.train.targets == 4)).nonzero().squeeze(1))
    assert subset.mean == pytest.approx([(pixels.double() / 255).mean().item()], abs=6e-5)
    assert (subset.mean, subset.std) == channel_statistics(subset.train)


def test_unlabelled_images_stay_whole(make_source):
    source = make_source("stl10")
    subset = select_classes(source, ["bird", "airplane"])
    assert torch.equal(subset.unlabeled.ids, source.unlabeled.ids)
    assert set(subset.unlabeled.targets.tolist()) == {-1}
    assert len(subset.train) == len(source.train) // 5


def test_folders_keep_their_splits_and_paths(make_source):
    source = make_source("image_folder")
    subset = select_classes(source, ["dog", "cat"])
    assert subset.class_names == ("dog", "cat")
    assert (len(subset.train), len(subset.validation), len(subset.test)) == (8, 4, 6)
    assert len(subset.unlabeled) == len(source.unlabeled)
    for path, target in zip(subset.train.paths, subset.train.targets.tolist(), strict=True):
        assert path.split("/")[1] == ("dog", "cat")[target]
    data = LabeledDataModule(subset, labels_per_class=3)
    assert data.train.targets.tolist().count(0) == 3
    assert (subset.mean, subset.std) == (source.mean, source.std)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ([0, 10], r"data.classes: got 10, expected an index in 0..9 or a class name of fashion_mnist; its classes are"),
        ([0, -1], r"data.classes: got -1, expected an index"),
        (["Bagg", "Coat"], r"data.classes: got 'Bagg', .* did you mean 'Bag'\? its classes are T-shirt/top, Trouser"),
        ([3], r"data.classes: got \[3\], expected at least 2 classes, such as 0,1; .* keep all 10"),
        ([], r"data.classes: got \[\], expected at least 2 classes"),
        ([True, False], r"data.classes: got True, expected an index in 0..9 or a class name"),
        ([8, 1, "Bag"], r"expected each class once: class 8 \('Bag'\) is named 2 times"),
    ],
)
def test_mistakes_are_named(make_source, classes, message):
    with pytest.raises(ValueError, match=message):
        select_classes(make_source("fashion_mnist"), classes)


def test_a_split_without_the_classes_is_named(make_source):
    source = make_source("fashion_mnist")
    is_low = (source.test.targets < 5).nonzero().squeeze(1)
    with pytest.raises(ValueError, match="fashion_mnist, split 'test' has no sample of them"):
        select_classes(replace(source, test=source.test.select(is_low)), [7, 8])


@pytest.mark.parametrize(
    ("given", "expected"),
    [("0, 1,2", ["0", "1", "2"]), ("Bag,Ankle boot", ["Bag", "Ankle boot"]), (["10", 3], ["10", 3]), (None, None)],
)
def test_settings_take_lists_and_commas(given, expected):
    assert DataSettings(classes=given).classes == expected


def test_the_settings_choose_the_classes():
    whole, half = build_source(DataSettings()), build_source(DataSettings(classes="0,1,2,3,4"))
    assert half.class_names == ("0", "1", "2", "3", "4")
    assert len(half.train) == int((whole.train.targets < 5).sum())
    with pytest.raises(ValueError, match=r"data.classes: got '12', expected an index"):
        build_source(DataSettings(classes="0,12"))


@pytest.mark.parametrize("given", ["2,0", "[2, 0]"])
def test_the_command_line_takes_both_forms_and_names_go_before_indices(source, given):
    parser = build_parser("train")
    classes = parser.instantiate(parser.parse_args(["--data.classes", given])).data.classes
    assert select_classes(source, classes).class_names == ("stripe 2", "stripe 0")
    numbered = replace(source, class_names=("10", "2", "7"))
    assert select_classes(numbered, classes).class_names == ("2", "10")


def test_masks_have_no_subset_of_classes():
    with pytest.raises(ValueError, match=r"data\.classes: got \[1, 2\], expected null: a mask of digit_scenes"):
        select_classes(create_source("digit_scenes", num_scenes=4, side=32), [1, 2])
