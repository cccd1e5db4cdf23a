"""Which pseudo-labels are taught."""

import pytest
import torch

from datamodules.pseudo_labels import PseudoLabels, TableMetadata
from datamodules.selection import select

LABELS = [0, 0, 0, 0, 0, 1, 1, 1, 2]
CONFIDENCES = [0.9, 0.5, 0.8, 0.6, 0.7, 0.9, 0.95, 0.5, 0.6]


def make_table(labels=LABELS, confidences=CONFIDENCES, num_classes=3):
    probabilities = ((1 - torch.tensor(confidences)) / (num_classes - 1))[:, None].repeat(1, num_classes)
    probabilities[torch.arange(len(labels)), torch.tensor(labels)] = torch.tensor(confidences)
    names = tuple("abcdefgh"[:num_classes])
    return PseudoLabels(100 + torch.arange(len(labels)), probabilities, TableMetadata("t", "s", names))


def test_without_options_everything_is_taught():
    table = make_table()
    selection = select(table)
    assert torch.equal(selection.ids, table.ids)
    assert torch.equal(selection.targets, table.probabilities)
    assert torch.equal(selection.confidences, table.confidences)
    assert selection.repeats.tolist() == [0] * 9
    assert selection.copies.tolist() == [1] * 9
    counts = [5, 3, 1]
    assert selection.summary == {
        "pool": 9,
        "num_selected": 9,
        "num_rows": 9,
        "per_class": counts,
        "rows_per_class": counts,
    }


def test_hard_labels_are_the_most_probable_classes():
    selection = select(make_table(), labels="hard")
    assert selection.targets.dtype == torch.int64
    assert selection.targets.tolist() == LABELS


def test_threshold_keeps_what_reaches_it():
    selection = select(make_table(), confidence_threshold=0.7)
    assert selection.ids.tolist() == [100, 102, 104, 105, 106]  # 0.7 itself reaches 0.7
    assert torch.equal(selection.targets, make_table().probabilities[[0, 2, 4, 5, 6]])


def test_a_threshold_for_each_class():
    selection = select(make_table(), confidence_threshold=[0.85, 0.5, 0.6])
    assert selection.ids.tolist() == [100, 105, 106, 107, 108]


def test_a_cap_keeps_the_most_confident():
    selection = select(make_table(), max_per_class=2)
    assert selection.ids.tolist() == [100, 102, 105, 106, 108]
    assert selection.summary["rows_per_class"] == [2, 2, 1]


def test_equal_confidences_go_by_id():
    selection = select(make_table([0, 1] * 1000, [0.75] * 2000, 2), max_per_class=100)
    assert selection.ids.tolist() == list(range(100, 300))


def test_balance_keeps_the_most_confident_and_repeats_the_scarce():
    selection = select(make_table(), balance=True, max_per_class=4, labels="hard")
    assert selection.ids.tolist() == [100, 102, 103, 104, 105, 106, 106, 107, 108, 108, 108, 108]
    assert selection.repeats.tolist() == [0, 0, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3]
    assert selection.copies.tolist() == [1, 1, 1, 1, 1, 2, 2, 1, 4, 4, 4, 4]
    assert selection.targets.bincount().tolist() == [4, 4, 4]
    assert selection.summary == {
        "pool": 9,
        "num_selected": 8,
        "num_rows": 12,
        "per_class": [4, 3, 1],
        "rows_per_class": [4, 4, 4],
    }


def test_balance_keeps_the_size_unless_told():
    assert select(make_table(), balance=True).summary["rows_per_class"] == [3, 3, 3]
    summary = select(make_table(), balance=True, confidence_threshold=[0.0, 0.9, 0.0]).summary
    assert summary["per_class"] == [3, 2, 1]
    assert summary["rows_per_class"] == [3, 3, 3]  # 8 confident ones, 2.67 a class


def test_an_unbalanced_selection_may_lack_a_class():
    assert select(make_table(), confidence_threshold=0.65).summary["per_class"] == [3, 2, 0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"confidence_threshold": 1.5}, r"confidence_threshold: got 1\.5, expected a probability"),
        ({"confidence_threshold": -0.1}, r"confidence_threshold: got -0\.1, expected"),
        ({"confidence_threshold": float("nan")}, "confidence_threshold: got nan, expected"),
        ({"confidence_threshold": [0.5, 0.5]}, "confidence_threshold: got 2 numbers, expected one, or one for each of"),
        ({"confidence_threshold": [0.5, 0.5, 2]}, "confidence_threshold: got 2, expected"),
        (
            {"confidence_threshold": 0.99},
            r"got 0\.99, expected some of the 9 pseudo-labels to reach it, whose largest confidence is 0\.95; lower it",
        ),
        (
            {"confidence_threshold": 0.93},
            r"confidence_threshold: got 0\.93, which selects 1 pseudo-labels of one class only, b; expected two",
        ),
        (
            {"confidence_threshold": 0.65, "balance": True},
            r"balance: got true, .* at confidence_threshold 0\.65, but c \(1 in all\) have none to repeat; lower",
        ),
        ({"max_per_class": 0}, "max_per_class: got 0, expected 1 or more"),
        ({"labels": "sharp"}, "labels: got 'sharp', expected one of soft, hard"),
    ],
)
def test_options_that_leave_nothing_to_learn_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        select(make_table(), **options)


def test_an_empty_table_is_refused():
    empty = PseudoLabels(torch.empty(0, dtype=torch.int64), torch.empty(0, 3), TableMetadata("t", "s", tuple("abc")))
    with pytest.raises(ValueError, match="expected some of the 0 pseudo-labels to reach it; lower it"):
        select(empty)
