"""Splits: stratified, reproducible, nested."""

import pytest
import torch

from datamodules.splits import labeled_subset, stratified_subset

TARGETS = torch.tensor([0] * 50 + [1] * 30 + [2] * 20)
IDS = torch.arange(100) * 7 + 3


@pytest.mark.parametrize(("num_samples", "counts"), [(10, [5, 3, 2]), (20, [10, 6, 4]), (100, [50, 30, 20])])
def test_a_stratified_subset_has_the_shares_of_the_whole(num_samples, counts):
    chosen = stratified_subset(TARGETS, IDS, num_samples, seed=0)
    assert TARGETS[chosen].bincount().tolist() == counts
    assert len(set(chosen.tolist())) == num_samples


def test_what_lacks_to_a_whole_number_goes_to_the_largest_remainders():
    assert TARGETS[stratified_subset(TARGETS, IDS, 7, seed=0)].bincount().tolist() == [4, 2, 1]  # 3.5, 2.1, 1.4


def test_a_subset_depends_on_ids_and_seed_alone():
    order = torch.randperm(100)
    ids = set(IDS[labeled_subset(TARGETS, IDS, 5, seed=1)].tolist())
    shuffled = labeled_subset(TARGETS[order], IDS[order], 5, seed=1)
    assert set(IDS[order][shuffled].tolist()) == ids
    assert set(IDS[labeled_subset(TARGETS, IDS, 5, seed=2)].tolist()) != ids


def test_larger_labelled_subsets_hold_the_smaller():
    small, large = (set(labeled_subset(TARGETS, IDS, n, seed=0).tolist()) for n in (3, 12))
    assert small < large
    assert TARGETS[labeled_subset(TARGETS, IDS, 3, seed=0)].bincount().tolist() == [3, 3, 3]


@pytest.mark.parametrize("labels_per_class", [0, 21])
def test_more_labels_than_there_are_is_refused(labels_per_class):
    with pytest.raises(ValueError, match=rf"data\.labels_per_class: got {labels_per_class}, expected 1 to 20: class 2"):
        labeled_subset(TARGETS, IDS, labels_per_class, seed=0)
