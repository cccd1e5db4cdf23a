"""Predictions, examples and confusion: what a test leaves, and what is read of it."""

import dataclasses
import io

import numpy as np
import pytest
import torch
from PIL import Image
from torchmetrics.functional.classification import multiclass_calibration_error

from experiments.collecting import choose_examples
from experiments.prediction_tables import (
    Example,
    Predictions,
    read_confusion,
    read_examples,
    read_predictions,
    write_confusion,
    write_examples,
    write_predictions,
)

NAMES = ("cat", "a, b|c", "ü")


def predictions(targets=(0, 1, 2, 2, -1), labels=(0, 2, 2, 1, 1), confidences=(0.9, 0.8, 0.4, 0.95, 0.35)):
    ids = 1060 + np.arange(len(targets))
    return Predictions(ids, np.array(targets), np.array(labels), np.array(confidences, np.float32), NAMES)


def test_predictions_are_read_as_they_were_written(tmp_path):
    written = predictions()
    write_predictions(tmp_path / "p.parquet", written)
    read = read_predictions(tmp_path / "p.parquet")
    for name, value in dataclasses.asdict(written).items():
        np.testing.assert_array_equal(value, getattr(read, name))
    assert (read.known.tolist(), read.correct.tolist()) == (
        [True] * 4 + [False],
        [True, False, True, False, False],
    )


def test_the_confusion_counts_known_images_alone():
    assert predictions().confusion().tolist() == [[1, 0, 0], [0, 0, 1], [0, 1, 1]]


def test_examples_are_read_as_they_were_written(tmp_path):
    written = [Example("least_sure", 3, 1, 2, 0.5, b"\x89PNG")]
    write_examples(tmp_path / "e.parquet", written, NAMES)
    assert read_examples(tmp_path / "e.parquet") == written


def test_a_confusion_of_masks_is_read_as_it_was_written(tmp_path):
    matrix = np.arange(9).reshape(3, 3)
    write_confusion(tmp_path / "c.csv", matrix, NAMES)
    names, read = read_confusion(tmp_path / "c.csv")
    assert tuple(names) == NAMES
    np.testing.assert_array_equal(read, matrix)


@pytest.mark.parametrize("content", [None, b"", b"PAR1 but no table"])
def test_a_table_that_is_none_is_named(tmp_path, content):
    path = tmp_path / "p.parquet"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"p\.parquet: expected a table with the columns id, target"):
        read_predictions(path)


def test_the_calibration_error_is_that_of_torchmetrics():
    generator = torch.Generator().manual_seed(0)
    probabilities = torch.randn(500, 3, generator=generator).mul(2).softmax(dim=1)
    targets = torch.randint(3, (500,), generator=generator)
    confidences, labels = probabilities.max(dim=1)
    ours = Predictions(np.arange(500), targets.numpy(), labels.numpy(), confidences.numpy(), NAMES)
    theirs = multiclass_calibration_error(probabilities, targets, 3, n_bins=15)
    assert ours.calibration_error == pytest.approx(float(theirs), abs=1e-6)
    assert sum(count for _, _, count in ours.reliability()) == 500


def test_examples_are_the_most_confident_mistakes_and_the_least_sure(source):
    shuffled = source.test.select(torch.tensor([4, 2, 0, 1, 3]))  # the samples' order is not that of their ids
    chosen = choose_examples(predictions(), shuffled, number=2)
    assert [(each.kind, each.id) for each in chosen] == [
        ("confident_mistake", 1063),
        ("confident_mistake", 1061),
        ("least_sure", 1064),
        ("least_sure", 1062),
    ]
    image = np.asarray(Image.open(io.BytesIO(chosen[0].image)))
    np.testing.assert_array_equal(image, source.test.read(torch.tensor([3]))[0][0, 0].numpy())
