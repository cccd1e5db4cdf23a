"""The audit of pseudo-labels: numbers counted by hand and by scikit-learn, and its picture."""

import json
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Text
from sklearn.metrics import precision_score, recall_score
from torchmetrics.functional.classification import multiclass_calibration_error

from datamodules.pseudo_label_columns import TableMetadata
from datamodules.pseudo_labels import PseudoLabels
from datamodules.selection import select
from experiments import audit_plots
from experiments.audit import audit, calibration_error, hidden_truth, reliability_bins
from experiments.audit_plots import audit_figure, draw_audit
from tests.conftest import make_source

LABELS = [0, 0, 0, 1, 1, 2]
CONFIDENCES = [0.9, 0.5, 0.8, 0.95, 0.6, 0.7]
TRUTH = torch.tensor([0, 1, 0, 1, 0, 1])  # no sample is of class 2


def make_table(labels=LABELS, confidences=CONFIDENCES, names=("a", "b", "c"), ids=None):
    labels, confidences = torch.tensor(labels), torch.tensor(confidences)
    probabilities = ((1 - confidences) / (len(names) - 1))[:, None].repeat(1, len(names))
    probabilities[torch.arange(len(labels)), labels] = confidences
    ids = 100 + torch.arange(len(labels)) if ids is None else torch.tensor(ids)
    return PseudoLabels(ids, probabilities, TableMetadata("teacher", "source", names))


def random_table(number=500, num_classes=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randint(num_classes, (number,), generator=generator)
    logits = torch.randn(number, num_classes, generator=generator)
    logits[torch.arange(number), truth] += 1.5
    names = tuple(f"class {index}" for index in range(num_classes))
    return PseudoLabels(torch.arange(number), logits.softmax(1), TableMetadata("t", "s", names)), truth


def test_numbers_counted_by_hand():
    table = make_table()
    numbers = audit(table, select(table, confidence_threshold=0.7), TRUTH, None)
    bins = numbers.pop("reliability")
    errors = [0.1, 0.5, 0.2, 0.05, 0.6, 0.7]  # no two samples share a bin but 0.95 and 0.9, which lie in 13 and 14
    assert numbers.pop("calibration_error") == pytest.approx(sum(errors) / 6)
    assert numbers == {
        "pool": 6,
        "selected": 4,
        "selected_share": 4 / 6,
        "accuracy": 3 / 6,
        "accuracy_selected": 3 / 4,
        "per_class": [
            {"class": "a", "pool": 3, "selected": 2, "accuracy": 2 / 3, "accuracy_selected": 1.0, "recall": 2 / 3},
            {"class": "b", "pool": 2, "selected": 1, "accuracy": 1 / 2, "accuracy_selected": 1.0, "recall": 1 / 3},
            {"class": "c", "pool": 1, "selected": 1, "accuracy": 0.0, "accuracy_selected": 0.0, "recall": None},
        ],
        "changed": None,
    }
    assert [row["count"] for row in bins] == [0] * 7 + [1, 0, 1, 1, 0, 1, 1, 1]
    assert bins[13] == {"count": 1, "confidence": pytest.approx(0.9), "accuracy": 1.0}
    assert bins[0] == {"count": 0, "confidence": None, "accuracy": None}


def test_precision_and_recall_are_those_of_scikit_learn():
    table, truth = random_table()
    selection = select(table, confidence_threshold=0.6)
    numbers = audit(table, selection, truth, None)
    options = {"labels": range(5), "average": None, "zero_division": np.nan}
    rows = numbers["per_class"]
    assert [row["accuracy"] for row in rows] == pytest.approx(precision_score(truth, table.labels, **options))
    assert [row["recall"] for row in rows] == pytest.approx(recall_score(truth, table.labels, **options))
    kept = table.confidences >= 0.6
    precision = precision_score(truth[kept], table.labels[kept], **options)
    assert [row["accuracy_selected"] for row in rows] == pytest.approx(precision)
    assert numbers["accuracy_selected"] == pytest.approx(float((truth == table.labels)[kept].double().mean()))
    assert sum(row["selected"] for row in rows) == numbers["selected"] == int(kept.sum())


def test_calibration_error_is_that_of_torchmetrics():
    table, truth = random_table()
    numbers = audit(table, select(table), truth, None)
    expected = multiclass_calibration_error(table.probabilities, truth, 5, n_bins=15)
    assert numbers["calibration_error"] == pytest.approx(float(expected), abs=1e-6)


def test_calibration_of_many_samples_keeps_its_digits():
    number = 200_000
    confidences = torch.full((number,), 0.9999)
    table = PseudoLabels(
        torch.arange(number), torch.stack((confidences, 1 - confidences), 1), TableMetadata("t", "s", ("a", "b"))
    )
    bins = reliability_bins(table, torch.zeros(number, dtype=torch.int64))
    assert calibration_error(bins) == pytest.approx(1e-4, rel=1e-3)  # sums in float32 say something else


def test_certain_labels_belong_to_the_last_bin_even_above_one_by_rounding():
    probabilities = torch.tensor([[1.0, 0.0], [1.0000001, 0.0], [0.94, 0.06]])
    table = PseudoLabels(torch.arange(3), probabilities, TableMetadata("t", "s", ("a", "b")))
    bins = reliability_bins(table, torch.tensor([0, 1, 0]))
    assert [row["count"] for row in bins] == [0] * 14 + [3]
    assert bins[-1]["accuracy"] == pytest.approx(2 / 3)
    assert calibration_error(bins) == pytest.approx(abs(2 / 3 - 2.94 / 3), abs=1e-6)


def test_unknown_truth_leaves_accuracies_open_and_counts_as_they_are():
    table = make_table()
    selection = select(table, confidence_threshold=0.7)
    known = audit(table, selection, TRUTH, None)
    for truth in (None, torch.full((6,), -1)):
        numbers = audit(table, selection, truth, None)
        for name in ("accuracy", "accuracy_selected", "calibration_error", "reliability"):
            assert numbers[name] is None
        for row, other in zip(numbers["per_class"], known["per_class"], strict=True):
            assert (row["accuracy"], row["accuracy_selected"], row["recall"]) == (None, None, None)
            assert (row["pool"], row["selected"]) == (other["pool"], other["selected"])
        assert (numbers["selected"], numbers["selected_share"]) == (4, 4 / 6)


def test_samples_of_unknown_truth_are_left_out_of_accuracies():
    table, truth = random_table()
    hidden = truth.clone()
    hidden[::3] = -1
    numbers = audit(table, select(table, confidence_threshold=0.6), hidden, None)
    rows = (hidden >= 0).nonzero().squeeze(1)
    rest = PseudoLabels(table.ids[rows], table.probabilities[rows], table.metadata)
    expected = audit(rest, select(rest, confidence_threshold=0.6), truth[rows], None)
    for name in ("accuracy", "accuracy_selected", "calibration_error", "reliability"):
        assert numbers[name] == expected[name]
    for row, other in zip(numbers["per_class"], expected["per_class"], strict=True):
        assert (row["accuracy"], row["recall"]) == (other["accuracy"], other["recall"])
        assert row["pool"] > other["pool"]


def test_repetitions_of_balance_count_once():
    table, truth = random_table()
    selection = select(table, balance=True, max_per_class=400)
    assert len(selection) == 2_000
    numbers = audit(table, selection, truth, None)
    assert (numbers["selected"], numbers["selected_share"]) == (500, 1.0)
    assert numbers["accuracy_selected"] == numbers["accuracy"]


def test_changed_labels_are_counted_on_common_samples():
    before = make_table([0, 1, 2, 0], [0.9] * 4, ids=[1, 5, 7, 9])
    after = make_table([1, 1, 0, 0, 2], [0.9] * 5, ids=[1, 5, 6, 7, 9])
    selection = select(after)
    assert audit(after, selection, None, before)["changed"] == 3  # 1, 7 and 9; 6 is new
    assert audit(after, selection, None, after)["changed"] == 0
    with pytest.raises(ValueError, match=r"previous: got a table of 2 classes \(x, y\), expected the 3"):
        audit(after, selection, None, make_table([0, 1], [0.9] * 2, names=("x", "y")))


def test_truth_follows_the_ids_in_whatever_order_the_pool_is():
    pool = make_source().train
    table = make_table([0, 1, 2], [0.9] * 3, ids=[1004, 1010, 1059])
    expected = [1004 - 1000, 1010 - 1000, 1059 - 1000]
    for order in (torch.arange(60), torch.arange(60).flip(0), torch.randperm(60)):
        truth = hidden_truth(pool.select(order), table)
        assert truth.tolist() == [index % 3 for index in expected]


def test_truth_that_nobody_knows_is_none():
    pool = make_source().train
    table = make_table([0, 1, 2], [0.9] * 3, ids=[1004, 1010, 1059])
    assert hidden_truth(pool.without_targets(), table) is None
    targets = torch.where(pool.ids == 1010, pool.targets, -1)
    assert hidden_truth(replace(pool, targets=targets), table).tolist() == [-1, 1, -1]
    with pytest.raises(ValueError, match="1 of its 1 ids are not in the pool of 60 samples, such as 7"):
        hidden_truth(pool, make_table([0], [0.9], ids=[7]))


def test_the_numbers_are_plain():
    table, truth = random_table()
    numbers = audit(table, select(table), truth, table)
    assert json.loads(json.dumps(numbers)) == numbers


def overlaps(texts):
    boxes = [text.get_window_extent() for text in texts]
    return [(texts[a], texts[b]) for a, b in combinations(range(len(boxes)), 2) if boxes[a].overlaps(boxes[b])]


@pytest.mark.parametrize(("num_classes", "num_rounds"), [(10, 1), (100, 20)])
def test_no_text_covers_another_in_the_picture(num_classes, num_rounds):
    table, truth = random_table(num_classes=num_classes)
    names = tuple(f"some class {index}" for index in range(num_classes))
    numbers = audit(table, select(table), truth, table)
    figure = audit_figure([numbers] * num_rounds, names)
    figure.draw_without_rendering()
    assert {"selected", "changed", "precision", "recall", "calibrated"} <= texts_of(figure)
    assert set(names) <= texts_of(figure)
    for axis in figure.axes:
        assert axis.get_ylabel()
        heading = [axis._left_title, *axis.get_legend().get_texts()] if axis.get_legend() else []
        for texts in (axis.get_xticklabels(), axis.get_yticklabels(), heading):
            assert overlaps([text for text in texts if text.get_visible()]) == []


def test_the_picture_leaves_out_what_is_unknown():
    table, _ = random_table()
    texts = texts_of(audit_figure([audit(table, select(table), None, None)], tuple("abcde")))
    assert {"selected", "in the pool", "a"} <= texts
    assert not {"precision", "calibrated", "calibration error", "accuracy (%)", "changed"} & texts


def test_the_picture_is_white_and_its_margins_are_free(tmp_path):
    table, _ = random_table()
    draw_audit(tmp_path / "audit.png", [audit(table, select(table), None, None)], tuple("abcde"))
    pixels = imread(tmp_path / "audit.png")
    for edge in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]):
        assert (edge == 1).all()


def texts_of(figure):
    return {text.get_text() for text in figure.findobj(Text) if text.get_visible()}


def test_lines_and_bars_have_the_audits_values():
    figure = Figure()
    audits = [audit(make_table(), select(make_table(), confidence_threshold=limit), TRUTH, None) for limit in (0, 0.7)]
    axis = figure.add_subplot()
    audit_plots.draw_accuracy(axis, audits, ("a", "b", "c"))
    assert [list(line.get_ydata()) for line in axis.lines] == [[50.0, 50.0], [50.0, 75.0]]
    axis = figure.add_subplot()
    audit_plots.draw_classes(axis, audits, ("a", "b", "c"))
    assert [bar.get_height() for bar in axis.patches] == pytest.approx(
        [200 / 3, 50, 0, 200 / 3, 100 / 3, np.nan], nan_ok=True
    )
    axis = figure.add_subplot()
    audit_plots.draw_shares(axis, [audits[0], audits[1] | {"changed": 3}], ("a", "b", "c"))
    assert [list(line.get_ydata()) for line in axis.lines][:2] == [
        pytest.approx([100, 400 / 6]),
        pytest.approx([np.nan, 50], nan_ok=True),
    ]


def test_class_names_are_text_and_no_formulas():
    table, truth = random_table()
    figure = audit_figure([audit(table, select(table), truth, None)], ("US$_{$", "$x^", "b", "c", "d"))
    figure.draw_without_rendering()
    assert {r"US\$_{\$", r"\$x^"} <= texts_of(figure)
