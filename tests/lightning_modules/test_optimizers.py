"""Optimizer groups and the learning rate over a run."""

import pytest
import torch

from lightning_modules.networks import create_network
from lightning_modules.optimizers import create_optimizer, create_schedule
from lightning_modules.settings import OptimizerSettings


def learning_rates(settings: OptimizerSettings, num_steps: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=settings.lr)
    schedule = create_schedule(optimizer, settings, num_steps)
    rates = []
    for _ in range(num_steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return rates


def test_cosine_with_warmup():
    rates = learning_rates(OptimizerSettings(lr=1.0, warmup_steps=10), 110)
    assert rates[0] == pytest.approx(0.01)
    assert rates[10] == pytest.approx(1.0)
    assert rates[60] == pytest.approx(0.5)
    assert 0 <= rates[-1] < 1e-3


def test_constant():
    assert set(learning_rates(OptimizerSettings(lr=0.5, schedule="constant"), 20)) == {0.5}


def test_biases_and_norms_are_not_decayed():
    network = create_network("cnn_tiny", num_classes=10, num_channels=1)
    optimizer = create_optimizer(network, OptimizerSettings(weight_decay=0.1))
    decayed = {id(p) for group in optimizer.param_groups if group["weight_decay"] > 0 for p in group["params"]}
    expected = {id(parameter) for parameter in network.parameters() if parameter.ndim > 1}
    assert decayed == expected
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0, 0.1}


def test_sgd_has_its_momentum():
    network = torch.nn.Linear(2, 2)
    optimizer = create_optimizer(network, OptimizerSettings(name="sgd", momentum=0.8))
    assert optimizer.param_groups[0]["momentum"] == 0.8


def test_mistakes_are_named():
    with pytest.raises(ValueError, match=r"optimizer\.name: got 'adamn'"):
        create_optimizer(torch.nn.Linear(2, 2), OptimizerSettings(name="adamn"))
    with pytest.raises(ValueError, match=r"optimizer\.warmup_steps: got 20, expected fewer than the 20 steps"):
        learning_rates(OptimizerSettings(warmup_steps=20), 20)
