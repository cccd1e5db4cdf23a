"""Muon: timm's steps, taken for many matrices at once."""

from copy import deepcopy

import pytest
import timm.optim
import timm.optim.muon
import torch
from lightning import LightningModule, Trainer
from torch.utils.data import DataLoader

from lightning_modules.muon import Muon, orthogonalized, takes_muon
from lightning_modules.networks import create_network
from lightning_modules.optimizers import create_optimizer
from lightning_modules.settings import OptimizerSettings, TransferSettings

SHAPES = [(8, 40), (8, 8), (40, 8), (8, 9), (6, 6)]


def gradients_like(network, seed):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(parameter.shape, generator=generator) for parameter in network.parameters()]


def network():
    torch.manual_seed(0)
    return create_network("resnet8", num_classes=10, num_channels=3)


def timm_in_float32(monkeypatch):
    iterate = timm.optim.muon.zeropower_via_newtonschulz
    monkeypatch.setattr(
        timm.optim.muon, "zeropower_via_newtonschulz", lambda *args, **kw: iterate(*args, **kw, dtype=torch.float32)
    )


@pytest.mark.parametrize("name", ["muon", "nmuon"])
def test_steps_are_those_of_timm(name, monkeypatch):
    timm_in_float32(monkeypatch)
    ours, theirs = network(), network()
    settings = OptimizerSettings(name, lr=0.02, weight_decay=0.1, momentum=0.8)
    reference = timm.optim.create_optimizer_v2(theirs, opt=name, lr=0.02, weight_decay=0.1, momentum=0.8)
    optimizers = create_optimizer(ours, settings), reference
    assert isinstance(optimizers[0], Muon)
    for seed in range(4):
        for network_, optimizer in zip((ours, theirs), optimizers, strict=True):
            for parameter, gradient in zip(network_.parameters(), gradients_like(ours, seed), strict=True):
                parameter.grad = gradient.clone()
            optimizer.step()
    started = dict(network().named_parameters())
    for (key, mine), theirs_ in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert not torch.equal(mine, started[key]), key
        torch.testing.assert_close(mine, theirs_, atol=1e-5, rtol=1e-4)


def test_a_state_of_timm_is_taken_over(monkeypatch):
    timm_in_float32(monkeypatch)
    ours, theirs = network(), network()
    first = timm.optim.Muon(theirs.parameters())
    second = Muon(ours.parameters())
    for seed in range(2):
        pairs = zip(ours.parameters(), theirs.parameters(), strict=True)
        for (mine, other), gradient in zip(pairs, gradients_like(ours, seed), strict=True):
            mine.grad, other.grad = gradient.clone(), gradient.clone()
        first.step()
        if seed == 0:
            ours.load_state_dict(theirs.state_dict())
            second.load_state_dict(deepcopy(first.state_dict()))
        else:
            second.step()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-4)


def test_matrices_are_those_of_timm():
    suitable = timm.optim.muon._is_suitable_for_muon
    shapes = [
        (8, 8),
        (8,),
        (1, 8),
        (8, 1),
        (8, 1, 3, 3),
        (3, 8),
        (8, 3),
        (4, 512),
        (4, 513),
        (8, 3, 3, 3),
        (1, 4, 8),
        (0, 8),
    ]
    for shape in shapes:
        assert takes_muon(torch.zeros(shape)) == bool(suitable(torch.zeros(shape))), shape
    assert takes_muon(torch.zeros(8, 3, 3, 3))
    assert not takes_muon(torch.zeros(8, 3))
    assert not takes_muon(torch.zeros(0, 8))


@pytest.mark.parametrize("shape", SHAPES)
def test_singular_values_come_near_one_and_directions_stay(shape):
    torch.manual_seed(0)
    left, values, right = torch.linalg.svd(torch.randn(shape), full_matrices=False)
    values = torch.linspace(1, 0.05, len(values))
    result = orthogonalized([left @ values.diag() @ right])[0]
    assert result.shape == shape
    seen = left.T @ result @ right.T
    assert (seen.diagonal() - 1).abs().max() < 0.35
    assert (seen - seen.diagonal().diag()).abs().max() < 1e-4


def test_matrices_of_one_side_do_not_mix():
    torch.manual_seed(0)
    matrices = [torch.randn(8, 40), 1e-3 * torch.randn(20, 8), torch.randn(8, 8)]
    for alone, together in zip([orthogonalized([m])[0] for m in matrices], orthogonalized(matrices), strict=True):
        torch.testing.assert_close(together, alone)


def test_a_gradient_of_zero_moves_nothing():
    parameter = torch.nn.Parameter(torch.ones(8, 8))
    parameter.grad = torch.zeros(8, 8)
    Muon([parameter], lr=0.1).step()
    assert torch.equal(parameter, torch.ones(8, 8))


def test_gradients_are_left_as_they_were():
    trained = network()
    optimizer = Muon(trained.parameters())
    for parameter, gradient in zip(trained.parameters(), gradients_like(trained, 0), strict=True):
        parameter.grad = gradient
    optimizer.step()
    assert all(torch.equal(p.grad, g) for p, g in zip(trained.parameters(), gradients_like(trained, 0), strict=True))


@pytest.mark.parametrize("mode", ["full", "discriminative"])
def test_groups_keep_their_rates_and_biases_are_not_decayed(mode):
    trained = network()
    settings = OptimizerSettings("muon", lr=0.5, weight_decay=0.1)
    optimizer = create_optimizer(trained, settings, TransferSettings(mode))
    decayed = {id(p) for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]}
    assert decayed == {id(p) for p in trained.parameters() if p.ndim > 1}
    assert (len({group["lr"] for group in optimizer.param_groups}) > 1) == (mode == "discriminative")


@pytest.mark.parametrize("precision", ["medium", "high", "highest"])
@pytest.mark.parametrize("autocast", [False, True])
def test_low_precision_of_products_elsewhere_changes_nothing(precision, autocast):
    torch.manual_seed(0)
    gradient = torch.randn(64, 1) @ torch.randn(1, 576)  # of rank 1, where the iteration is most easily upset
    moved = []
    before = torch.get_float32_matmul_precision()
    for used in ("highest", precision):
        parameter = torch.nn.Parameter(torch.zeros(64, 576))
        parameter.grad = gradient.clone()
        torch.set_float32_matmul_precision(used)
        setting = torch.backends.mkldnn.matmul.fp32_precision
        try:
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast and used == precision):
                Muon([parameter], lr=1.0).step()
            assert torch.get_float32_matmul_precision() == used
            assert torch.backends.mkldnn.matmul.fp32_precision == setting
        finally:
            torch.set_float32_matmul_precision(before)
        moved.append(parameter.detach())
    torch.testing.assert_close(moved[1], moved[0])
    assert torch.linalg.svdvals(moved[0])[0] == pytest.approx(0.2 * 576**0.5, rel=0.1)


def test_hooks_are_called_once_a_step():
    torch.manual_seed(0)
    matrix, bias = torch.nn.Parameter(torch.ones(8, 8)), torch.nn.Parameter(torch.ones(8))
    matrix.grad, bias.grad = torch.randn(8, 8), torch.randn(8)
    timm.optim.Muon([bias])  # PyTorch wraps the step of timm's class too from here on
    optimizer = Muon([matrix, bias])
    calls = []
    optimizer.register_step_pre_hook(lambda *_: calls.append(matrix.grad is not None))
    optimizer.register_step_post_hook(lambda *_: calls.append("after"))
    optimizer.step()
    assert calls == [True, "after"]
    assert not torch.equal(bias.detach(), torch.ones(8))


def test_large_matrices_are_left_to_timm():
    torch.manual_seed(0)
    large = torch.nn.Parameter(torch.zeros(140, 150))
    large.grad = torch.randn(140, 150)
    assert not takes_muon(large)
    Muon([large], lr=1.0).step()
    values = torch.linalg.svdvals(large.detach())
    assert values.max() / values.median() < 1.2  # AdamW's would be far apart


def test_groups_may_ask_for_the_fallback():
    parameter = torch.nn.Parameter(torch.zeros(8, 8))
    parameter.grad = torch.arange(1.0, 65).view(8, 8)
    Muon([{"params": [parameter], "use_fallback": True}], lr=0.01).step()
    torch.testing.assert_close(parameter.detach(), torch.full((8, 8), -0.01))  # AdamW's first step


def test_another_default_dtype():
    parameter = torch.nn.Parameter(torch.zeros(8, 8))
    parameter.grad = torch.eye(8)
    torch.set_default_dtype(torch.float64)
    try:
        Muon([parameter], lr=0.01).step()
    finally:
        torch.set_default_dtype(torch.float32)
    assert parameter.abs().sum() > 0


@torch.no_grad()
def error(module, data):
    return float((module.network(data) - data).square().mean())


def test_lightning_steps_it_with_accumulation_and_clipping():
    class Module(LightningModule):
        def __init__(self):
            super().__init__()
            self.network = torch.nn.Linear(8, 8)

        def training_step(self, batch):
            return (self.network(batch) - batch).square().mean()

        def configure_optimizers(self):
            return create_optimizer(self.network, OptimizerSettings("muon", lr=0.02, weight_decay=0.0))

    torch.manual_seed(0)
    module, data = Module(), torch.randn(64, 8)
    before = error(module, data)
    options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = Trainer(max_epochs=20, accumulate_grad_batches=2, gradient_clip_val=1.0, accelerator="cpu", **options)
    trainer.fit(module, DataLoader(data, 8))
    assert trainer.global_step == 80
    assert error(module, data) < before / 5
