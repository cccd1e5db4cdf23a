"""The audit of pseudo-masks: the numbers of torchmetrics and of the audit of classes, pixel by pixel."""

import json
from dataclasses import replace

import pytest
import torch
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_jaccard_index

from datamodules.pseudo_label_merging import merge_shards
from datamodules.pseudo_label_writer import PseudoMaskWriter
from datamodules.pseudo_labels import PseudoLabels, TableMetadata
from datamodules.segmentation import SegmentationDataModule
from datamodules.selection import select
from experiments.audit import audit
from experiments.audit_plots import audit_figure
from experiments.labelling import audit_table
from experiments.pseudo_label_settings import SelectionSettings
from tests.datamodules.test_segmentation import SIZE, make_mask_source

NAMES = tuple("abcde")
THRESHOLD = 0.6
SETTINGS = SelectionSettings(labels="hard", confidence_threshold=THRESHOLD)


def write_table(path, labeled, certainty):
    """Write pseudo-masks of which the more are right the greater ``certainty`` is; return the table."""
    pool = labeled.pool
    truth = pool.read_targets(torch.arange(len(pool))).long()
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(len(pool), 5, SIZE, SIZE, generator=generator)
    logits.scatter_add_(1, truth.clamp(max=4).unsqueeze(1), torch.full_like(logits, certainty))
    logits[:, 4] -= 100 * (truth == 4).logical_not()  # of class 4 only some pixels are found
    writer = PseudoMaskWriter(path, TableMetadata("ab" * 32, "squares", NAMES))
    writer.open(0, 1)
    writer.append(pool.ids, logits.softmax(dim=1))
    writer.finish()
    merge_shards(writer.shards, path, pool)
    return PseudoLabels.read(path)


@pytest.fixture(scope="module")
def labeled():
    torch.manual_seed(0)
    data = SegmentationDataModule(make_mask_source(), num_labeled=10, num_validation=8)
    masks = data.pool.masks.masks.clone()
    masks[:, :3] = 255  # unknown
    data.pool = replace(data.pool, masks=replace(data.pool.masks, masks=masks))
    return data


@pytest.fixture(scope="module")
def table(labeled, tmp_path_factory):
    return write_table(tmp_path_factory.mktemp("table") / "table.parquet", labeled, 2.0)


@pytest.fixture(scope="module")
def pixels(labeled, table):
    """Return true classes, pseudo-labels and confidences of all pixels, the last as the files have them."""
    from datamodules.pseudo_masks import open_masks

    order = (table.ids[:, None] == labeled.pool.ids).nonzero()[:, 1]
    masks = open_masks(table, (SIZE, SIZE))
    classes, levels = (torch.stack(maps) for maps in zip(*map(masks.read, range(len(masks))), strict=True))
    return labeled.pool.read_targets(order).long().flatten(), classes.long().flatten(), levels.flatten() / 255


def test_numbers_are_those_of_torchmetrics(labeled, table, pixels):
    numbers = audit_table(table, labeled, SETTINGS)
    truth, classes, confidences = pixels
    taught = confidences >= THRESHOLD
    options = {"num_classes": 5, "ignore_index": 255}
    for suffix, kept in (("", torch.ones_like(taught)), ("_selected", taught)):
        expected = multiclass_accuracy(classes[kept], truth[kept], average="micro", **options)
        assert numbers[f"accuracy{suffix}"] == pytest.approx(float(expected))
        expected = multiclass_jaccard_index(classes[kept], truth[kept], **options)
        assert numbers[f"mean_iou{suffix}"] == pytest.approx(float(expected))
    assert 0.3 < numbers["mean_iou"] < numbers["mean_iou_selected"] < 1
    ious = multiclass_jaccard_index(classes, truth, average=None, **options)
    assert [row["iou"] for row in numbers["per_class"]] == pytest.approx(ious.tolist())
    assert numbers["pool"] == 32
    assert numbers["selected"] == int(taught.view(32, -1).any(dim=1).sum())
    assert numbers["selected_share"] == pytest.approx(float(taught.float().mean()))


def test_pixels_are_audited_as_samples_are(labeled, table, pixels):
    """The audit of a table that has a row a pixel says the same."""
    truth, classes, confidences = pixels
    probabilities = ((1 - confidences) / 4)[:, None].repeat(1, 5)
    probabilities[torch.arange(len(classes)), classes] = confidences
    rows = PseudoLabels(torch.arange(len(classes)), probabilities, table.metadata)
    known = torch.where(truth == 255, -1, truth)
    expected = audit(rows, select(rows, confidence_threshold=THRESHOLD), known)
    numbers = audit_table(table, labeled, SETTINGS)
    assert numbers.keys() == expected.keys() | {"mean_iou", "mean_iou_selected"}
    for name in ("selected_share", "accuracy", "accuracy_selected", "changed"):
        assert numbers[name] == expected[name]
    for row, other in zip(numbers["per_class"], expected["per_class"], strict=True):
        assert row == other | {"iou": row["iou"]}
    for row, other in zip(numbers["reliability"], expected["reliability"], strict=True):
        assert row == pytest.approx(other)
    assert numbers["calibration_error"] == pytest.approx(expected["calibration_error"])


def test_unknown_truth_leaves_accuracies_open_and_counts_as_they_are(labeled, table):
    known = audit_table(table, labeled, SETTINGS)
    hidden = SegmentationDataModule(labeled.source, num_labeled=10, num_validation=8)
    hidden.pool = labeled.pool.without_targets()
    numbers = audit_table(table, hidden, SETTINGS)
    for name in ("accuracy", "accuracy_selected", "mean_iou", "mean_iou_selected", "calibration_error", "reliability"):
        assert numbers[name] is None
    for row, other in zip(numbers["per_class"], known["per_class"], strict=True):
        assert [row[name] for name in ("accuracy", "accuracy_selected", "recall", "iou")] == [None] * 4
        assert (row["pool"], row["selected"]) == (other["pool"], other["selected"])
    assert (numbers["selected"], numbers["selected_share"]) == (known["selected"], known["selected_share"])


def test_classes_that_do_not_occur_have_no_iou(labeled, table):
    truth = replace(labeled.pool.masks, masks=torch.full_like(labeled.pool.masks.masks, 1))
    other = SegmentationDataModule(labeled.source, num_labeled=10, num_validation=8)
    other.pool = replace(labeled.pool, masks=truth)
    numbers = audit_table(table, other, SETTINGS)
    assert [row["iou"] for row in numbers["per_class"] if row["class"] != "b"] == [0.0] * 4
    assert numbers["mean_iou"] == pytest.approx(numbers["per_class"][1]["iou"] / 5)


def test_changed_pixels_are_counted(labeled, table, pixels, tmp_path):
    earlier = write_table(tmp_path / "earlier.parquet", labeled, 0.5)
    assert audit_table(table, labeled, SETTINGS, table)["changed"] == 0
    numbers = audit_table(table, labeled, SETTINGS, earlier)
    (before, now), known = (audit_table(each, labeled, SETTINGS) for each in (earlier, table)), len(pixels[0])
    assert 0 < numbers["changed"] < known
    moved = sum(
        abs(row["pool"] - other["pool"]) for row, other in zip(before["per_class"], now["per_class"], strict=True)
    )
    assert numbers["changed"] >= moved / 2
    changed = (classes_of(earlier) != classes_of(table)).sum()
    assert numbers["changed"] == int(changed)
    renamed = replace(earlier, metadata=replace(earlier.metadata, class_names=tuple("vwxyz")))
    with pytest.raises(ValueError, match=r"previous: got a table of 5 classes \(v, w, x, y, z\), expected the 5"):
        audit_table(table, labeled, SETTINGS, renamed)


def classes_of(table):
    from datamodules.mask_files import read_mask

    return torch.stack([torch.from_numpy(read_mask(table.masks / f"{number}.png", 5)) for number in table.ids.tolist()])


def test_balance_is_audited(labeled, table):
    numbers = audit_table(table, labeled, replace(SETTINGS, balance=True))
    shares = [row["selected"] / row["pool"] for row in numbers["per_class"]]
    assert max(shares) - min(shares) < 0.02


def test_the_numbers_are_plain_and_drawn(labeled, table):
    numbers = audit_table(table, labeled, SETTINGS, table)
    assert json.loads(json.dumps(numbers)) == numbers
    figure = audit_figure([numbers, numbers | {"changed": 32 * SIZE**2 // 4}], NAMES)
    (shares,) = [axis for axis in figure.axes if "changed" in [line.get_label() for line in axis.lines]]
    (changed,) = [line for line in shares.lines if line.get_label() == "changed"]
    assert list(changed.get_ydata()) == [0, 25]
    assert [axis.get_ylabel() for axis in figure.axes].count("pixels") == 2
