"""Metrics against their definitions."""

import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score
from torchmetrics.functional.classification import multiclass_calibration_error

from lightning_modules.metrics import ClassificationMetrics


def test_equal_scikit_learns_and_do_not_depend_on_batches():
    logits = torch.randn(101, 7)
    targets = torch.randint(0, 7, (101,))
    logits[torch.arange(101), targets] += 1
    metrics = ClassificationMetrics(7)
    for part in torch.arange(101).split(32):
        metrics.update(logits[part], targets[part])
    values = metrics.compute()
    predictions = logits.argmax(1)
    assert float(values["accuracy"]) == pytest.approx(accuracy_score(targets, predictions))
    assert float(values["f1"]) == pytest.approx(f1_score(targets, predictions, average="macro"))
    in_top_5 = (logits.topk(5, dim=1).indices == targets[:, None]).any(1).float().mean()
    assert float(values["accuracy_top5"]) == pytest.approx(float(in_top_5))
    expected = multiclass_calibration_error(logits, targets, 7)
    assert float(values["calibration_error"]) == pytest.approx(float(expected), abs=1e-6)


def test_unlabelled_samples_do_not_count_and_reset_forgets():
    metrics = ClassificationMetrics(3)
    metrics.update(torch.eye(3), torch.tensor([0, -1, 1]))
    assert float(metrics.compute()["accuracy"]) == 0.5
    metrics.reset()
    metrics.update(torch.eye(3), torch.tensor([0, 1, 2]))
    values = metrics.compute()
    assert float(values["accuracy"]) == float(values["f1"]) == 1
    assert "accuracy_top5" not in values  # five of three classes say nothing


def test_logits_that_look_like_probabilities_are_logits():
    generator = torch.Generator().manual_seed(0)
    logits, targets = torch.rand(200, 3, generator=generator), torch.randint(3, (200,), generator=generator)
    metrics, shifted = ClassificationMetrics(3), ClassificationMetrics(3)
    metrics.update(logits, targets)
    shifted.update(logits - 5, targets)
    found, expected = (each.compute()["calibration_error"].item() for each in (metrics, shifted))
    assert found == pytest.approx(expected, abs=1e-5)
