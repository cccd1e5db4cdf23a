"""What all learners share: logging, evaluation, prediction."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from datamodules.labeled import LabeledDataModule
from lightning_modules.classification import ClassificationModule
from lightning_modules.settings import OptimizerSettings


def module() -> ClassificationModule:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    return ClassificationModule(network, 3, optimizer=OptimizerSettings(lr=0.01))


def test_learns_and_logs_the_documented_keys(source, make_trainer):
    learner, data = module(), LabeledDataModule(source, batch_size=16, num_validation=9)
    trainer = make_trainer(max_epochs=15, log_every_n_steps=1)
    trainer.fit(learner, data)
    logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
    expected = {"train/loss", "train/loss_step", "train/accuracy", "val/loss", "val/accuracy", "val/f1"}
    assert expected <= set(logged)
    assert logged["train/accuracy"] > 0.9
    test = trainer.test(learner, data, verbose=False)[0]
    logits = learner.eval()(source.test.images(torch.arange(13)).float() / 255).detach()
    assert test["test/accuracy"] == pytest.approx(float((logits.argmax(1) == source.test.targets).float().mean()))
    expected_loss = nn.functional.cross_entropy(logits, source.test.targets)
    assert test["test/loss"] == pytest.approx(float(expected_loss), rel=1e-5)


def test_batches_need_no_ids(make_trainer):
    batches = DataLoader(TensorDataset(torch.rand(12, 1, 8, 8), torch.arange(12) % 3), batch_size=4)
    trainer = make_trainer(max_steps=3)
    trainer.fit(module(), batches, batches)
    assert "val/accuracy" in trainer.callback_metrics


def test_predicts_probabilities(source, make_trainer):
    learner = module()
    images = torch.rand(4, 1, 8, 8)
    (probabilities,) = make_trainer().predict(learner, DataLoader(TensorDataset(images), batch_size=4))
    torch.testing.assert_close(probabilities, learner(images).softmax(dim=1))


def test_label_smoothing_is_used_and_checked():
    logits, targets = torch.randn(8, 3), torch.arange(8) % 3
    from lightning_modules.losses import cross_entropy

    expected = nn.functional.cross_entropy(logits, targets, label_smoothing=0.2)
    torch.testing.assert_close(cross_entropy(logits, targets, label_smoothing=0.2), expected)
    with pytest.raises(ValueError, match=r"label_smoothing: got 1\.0"):
        ClassificationModule(nn.Linear(1, 1), 3, label_smoothing=1.0)
