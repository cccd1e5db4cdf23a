"""Optimizer groups and the learning rate over a run."""

import pytest
import torch
from lightning import LightningModule, Trainer
from torch.utils.data import DataLoader, TensorDataset

from lightning_modules.networks import create_network
from lightning_modules.networks.layers import layer_groups
from lightning_modules.optimizers import create_optimizer, create_schedule
from lightning_modules.settings import OptimizerSettings, TransferSettings


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


@pytest.mark.parametrize("mode", ["full", "discriminative"])
def test_what_a_network_exempts_is_not_decayed(mode):
    network = create_network("vit_tiny_patch16_224", num_classes=2, depth=1)
    optimizer = create_optimizer(network, OptimizerSettings(weight_decay=0.1), TransferSettings(mode))
    undecayed = {id(p) for group in optimizer.param_groups if not group["weight_decay"] for p in group["params"]}
    names = {name for name, p in network.named_parameters() if id(p) in undecayed and p.ndim > 1}
    assert names == {"body.cls_token", "body.pos_embed"}


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_discriminative_rates_cover_every_parameter_once(weight_decay):
    network = create_network("resnet8", num_classes=10, num_channels=1)
    settings = OptimizerSettings(name="sgd", lr=0.8, weight_decay=weight_decay)
    optimizer = create_optimizer(network, settings, TransferSettings("discriminative", layer_decay=0.5))
    found = [
        (id(parameter), group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    ]
    named = dict(network.named_parameters())
    expected = [
        (id(named[name]), 0.8 * 0.5**distance, weight_decay if named[name].ndim > 1 else 0.0)
        for distance, names in enumerate(reversed(layer_groups(network)))
        for name in names
    ]
    assert sorted(found) == sorted(expected)
    assert optimizer.param_groups[0]["momentum"] == settings.momentum


def test_the_schedule_keeps_the_ratios_of_discriminative_rates():
    network = create_network("cnn_tiny", num_classes=10, num_channels=1)
    settings = OptimizerSettings(lr=1.0, warmup_steps=2)
    optimizer = create_optimizer(network, settings, TransferSettings("discriminative", layer_decay=0.5))
    schedule = create_schedule(optimizer, settings, 10)
    for _ in range(8):
        rates = sorted({group["lr"] for group in optimizer.param_groups})
        assert rates == pytest.approx([rates[-1] * 0.25, rates[-1] * 0.5, rates[-1]])
        optimizer.step()
        schedule.step()


@pytest.mark.parametrize("mode", ["full", "head", "last_stages", "gradual"])
def test_other_modes_have_the_groups_of_no_transfer(mode):
    network = create_network("cnn_tiny", num_classes=10, num_channels=1)
    plain, transferred = (
        create_optimizer(network, OptimizerSettings(), transfer) for transfer in (None, TransferSettings(mode))
    )
    assert str(plain) == str(transferred)
    ids = [[list(map(id, g["params"])) for g in each.param_groups] for each in (plain, transferred)]
    assert ids[0] == ids[1]


def test_what_is_frozen_is_left_out():
    network = create_network("cnn_tiny", num_classes=10, num_channels=1)
    network.body.features.requires_grad_(False)
    optimizer = create_optimizer(network, OptimizerSettings(), TransferSettings("head"))
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    assert held == {id(parameter) for parameter in network.body.classifier.parameters()}


def test_sgd_has_its_momentum():
    network = torch.nn.Linear(2, 2)
    optimizer = create_optimizer(network, OptimizerSettings(name="sgd", momentum=0.8))
    assert optimizer.param_groups[0]["momentum"] == 0.8


@pytest.mark.parametrize(("name", "plain"), [("adamw", torch.optim.AdamW), ("adam", torch.optim.Adam)])
def test_the_fused_step_is_the_plain_step(name, plain):
    networks = [torch.nn.Linear(5, 3) for _ in range(2)]
    networks[1].load_state_dict(networks[0].state_dict())
    settings = OptimizerSettings(name=name, lr=0.1, weight_decay=0.0)
    optimizers = [
        create_optimizer(networks[0], settings),
        plain(networks[1].parameters(), lr=0.1, weight_decay=0.0, foreach=False),
    ]
    images = torch.rand(8, 5)
    for _ in range(5):
        for network, optimizer in zip(networks, optimizers, strict=True):
            optimizer.zero_grad()
            network(images).square().sum().backward()
            optimizer.step()
    assert optimizers[0].param_groups[0]["fused"]
    torch.testing.assert_close(networks[0].weight, networks[1].weight, rtol=1e-4, atol=1e-6)


def test_the_fused_step_allows_clipping_in_mixed_precision():
    class Module(LightningModule):
        def __init__(self):
            super().__init__()
            self.network = torch.nn.Linear(4, 2)

        def training_step(self, batch):
            return self.network(batch[0]).square().sum()

        def configure_optimizers(self):
            return create_optimizer(self.network, OptimizerSettings(name="adamw", lr=1e-3, weight_decay=0.0))

    module = Module()
    images = DataLoader(TensorDataset(torch.rand(4, 4)), batch_size=4)
    trainer = Trainer(
        accelerator="cpu",
        precision="bf16-mixed",
        gradient_clip_val=0.01,
        max_steps=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, images)
    gradients = torch.cat([parameter.grad.flatten() for parameter in module.parameters()])
    assert gradients.norm() == pytest.approx(0.01, rel=1e-3)


def test_sgd_without_momentum_has_none_of_nesterov():
    optimizer = create_optimizer(torch.nn.Linear(2, 2), OptimizerSettings(name="sgd", momentum=0.0))
    assert optimizer.param_groups[0]["momentum"] == 0


def test_mistakes_are_named():
    with pytest.raises(ValueError, match=r"optimizer\.name: got 'adamn'"):
        create_optimizer(torch.nn.Linear(2, 2), OptimizerSettings(name="adamn"))
    with pytest.raises(ValueError, match=r"optimizer\.warmup_steps: got 20, expected fewer than the 20 steps"):
        learning_rates(OptimizerSettings(warmup_steps=20), 20)
