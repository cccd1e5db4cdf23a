"""Transfer: exactly what should move moves, epoch by epoch, also after a resume."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_modules.classification import ClassificationModule
from lightning_modules.distillation import DistillationModule
from lightning_modules.networks import create_network
from lightning_modules.networks.layers import layer_groups
from lightning_modules.settings import OptimizerSettings, TransferSettings
from lightning_modules.transfer import hold_norms, num_trainable_groups

BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


def network(kind: str) -> nn.Module:
    torch.manual_seed(0)
    return create_network("resnet8" if kind == "residual" else "cnn_small", num_classes=3, num_channels=1)


def batches() -> DataLoader:
    generator = torch.Generator().manual_seed(1)
    images, targets = torch.rand(12, 1, 8, 8, generator=generator), torch.arange(12) % 3
    return DataLoader(TensorDataset(images, targets), batch_size=6)


def learner(kind: str = "plain", transfer: TransferSettings | None = None, **optimizer: Any) -> ClassificationModule:
    settings = OptimizerSettings(**({"lr": 0.01} | optimizer))
    return ClassificationModule(network(kind), 3, optimizer=settings, transfer=transfer)


class Moved(Callback):
    """Notes in every epoch the names in the network's state that changed."""

    def __init__(self) -> None:
        self.names: list[set[str]] = []

    def on_train_epoch_start(self, trainer, pl_module) -> None:
        self.before = {name: value.clone() for name, value in pl_module.network.state_dict().items()}

    def on_train_epoch_end(self, trainer, pl_module) -> None:
        state = pl_module.network.state_dict()
        self.names.append({name for name, value in self.before.items() if not torch.equal(state[name], value)})


def state_of(groups: list[list[str]], learner: ClassificationModule) -> set[str]:
    """Return the names in the network's state of groups of parameters and of the norms in them."""
    names = {name for group in groups for name in group}
    buffers = {name for name in learner.network.state_dict() if name.endswith(BUFFERS)}
    return names | {name for name in buffers if f"{name.rpartition('.')[0]}.weight" in names}


@pytest.mark.parametrize("kind", ["residual", "plain"])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize(
    ("transfer", "learning"),
    [
        (TransferSettings(), [5, 5, 5]),
        (TransferSettings("head"), [1, 1, 1]),
        (TransferSettings("last_stages", num_stages=2), [3, 3, 3]),
        (TransferSettings("discriminative"), [5, 5, 5]),
        (TransferSettings("gradual", unfreeze_every=2), [1, 1, 2, 2, 3]),
    ],
    ids=lambda value: value.mode if isinstance(value, TransferSettings) else "",
)
def test_exactly_what_should_move_moves(make_trainer, kind, optimizer, transfer, learning):
    module = learner(kind, transfer, name=optimizer, weight_decay=0.1, schedule="constant")
    groups = layer_groups(module.network)
    assert len(groups) == 5
    moved = Moved()
    # Validation in between switches modes, which must not wake the batch norms of frozen layers.
    make_trainer(max_epochs=len(learning), callbacks=[moved]).fit(module, batches(), batches())
    assert moved.names == [state_of(groups[-number:], module) for number in learning]


def test_full_is_what_it_was_without_transfer(make_trainer):
    states = []
    for transfer in (None, TransferSettings()):
        module = learner("plain", transfer)
        module.network.body.features[0].requires_grad_(False)  # what a user froze stays frozen
        make_trainer(max_epochs=2).fit(module, batches(), batches())
        states.append(module.state_dict())
        assert not module.network.body.features[0].weight.requires_grad
    by_hand = network("plain").to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW([
        {"params": [p for p in list(by_hand.parameters())[1:] if p.ndim <= 1], "weight_decay": 0.0},
        {"params": [p for p in list(by_hand.parameters())[1:] if p.ndim > 1], "weight_decay": 0.05},
    ], lr=0.01)  # fmt: skip
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=4)
    for images, targets in [*batches(), *batches()]:
        optimizer.zero_grad()
        nn.functional.cross_entropy(by_hand(images), targets).backward()
        optimizer.step()
        schedule.step()
    for name, value in by_hand.state_dict().items():
        for state in states:
            torch.testing.assert_close(state[f"network.{name}"], value, rtol=1e-3, atol=1e-4)


def test_discriminative_learning_rates_fall_from_head_to_stem(make_trainer):
    module = learner("plain", TransferSettings("discriminative", layer_decay=0.5), weight_decay=0.1)
    trainer = make_trainer(max_steps=1)
    trainer.fit(module, batches(), batches())
    names = {id(parameter): name for name, parameter in module.network.named_parameters()}
    rates = {names[id(p)]: g["initial_lr"] for g in trainer.optimizers[0].param_groups for p in g["params"]}
    for distance, group in enumerate(reversed(layer_groups(module.network))):
        assert {rates[name] for name in group} == {0.01 * 0.5**distance}
    assert len(rates) == len(names)


class ModesOfNorms(Callback):
    """Notes in every step which batch norms are in training mode."""

    def __init__(self) -> None:
        self.seen: list[list[bool]] = []

    def on_train_batch_end(self, trainer, pl_module, *arguments) -> None:
        norms = [module for module in pl_module.network.modules() if isinstance(module, nn.BatchNorm2d)]
        self.seen.append([norm.training for norm in norms])


def test_norms_follow_their_layers_within_epochs_and_when_modes_are_switched_by_hand(make_trainer):
    module, modes = learner("plain", TransferSettings("gradual")), ModesOfNorms()
    make_trainer(max_epochs=3, val_check_interval=1, callbacks=[modes]).fit(module, batches(), batches())
    assert modes.seen == [[False] * 4] * 2 + [[False] * 3 + [True]] * 2 + [[False] * 2 + [True] * 2] * 2
    module.eval().train()
    norms = [layer.training for layer in module.network.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert norms == modes.seen[-1]
    assert module.network.body.dropout.training
    module.eval()
    assert not any(layer.training for layer in module.modules())


def test_a_norm_without_parameters_goes_with_the_layer_before_it():
    layers = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2, affine=False), nn.Conv2d(2, 2, 3), nn.BatchNorm2d(2))
    layers[0].requires_grad_(False)
    hold_norms(layers)
    assert (layers[1].training, layers[3].training) == (False, True)


def test_frozen_parameters_have_no_momentum_when_they_wake(make_trainer):
    module = learner("plain", TransferSettings("gradual"), name="sgd")
    trainer = make_trainer(max_epochs=2)
    trainer.fit(module, batches(), batches())
    names = {id(parameter): name for name, parameter in module.network.named_parameters()}
    with_state = {names[id(parameter)] for parameter in trainer.optimizers[0].state}
    assert with_state == {name for group in layer_groups(module.network)[-2:] for name in group}


class SaveEveryEpoch(Callback):
    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def on_train_epoch_end(self, trainer, pl_module) -> None:
        trainer.save_checkpoint(self.directory / f"{trainer.current_epoch}.ckpt")


@pytest.mark.parametrize("kind", ["residual", "plain"])
def test_a_resume_in_the_middle_of_gradual_is_exact(make_trainer, tmp_path, kind):
    def fit(checkpoint: Path | None, callbacks: list[Callback]) -> dict[str, Tensor]:
        module = learner(kind, TransferSettings("gradual", unfreeze_every=2))
        trainer = make_trainer(max_epochs=6, callbacks=callbacks)
        trainer.fit(module, batches(), batches(), ckpt_path=checkpoint, weights_only=True)
        return module.state_dict()

    uninterrupted = fit(None, [SaveEveryEpoch(tmp_path)])
    for epoch in (0, 2, 3):
        moved = Moved()
        resumed = fit(tmp_path / f"{epoch}.ckpt", [moved])
        assert len(moved.names) == 5 - epoch
        assert all(torch.equal(value, uninterrupted[name]) for name, value in resumed.items())


def test_a_second_fit_of_the_same_module_begins_anew(make_trainer):
    module, moved = learner("plain", TransferSettings("gradual")), Moved()
    make_trainer(max_epochs=3).fit(module, batches(), batches())
    make_trainer(max_epochs=1, callbacks=[moved]).fit(module, batches(), batches())
    assert moved.names == [state_of(layer_groups(module.network)[-1:], module)]


def test_a_distilled_student_is_frozen_likewise(make_trainer):
    teacher = create_network("cnn_tiny", num_classes=3, num_channels=1)
    module, moved = DistillationModule(network("plain"), teacher, 3, transfer=TransferSettings("head")), Moved()
    make_trainer(callbacks=[moved]).fit(module, batches(), batches())
    assert moved.names == [set(layer_groups(module.network)[-1])]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (TransferSettings(), [5, 5, 5]),
        (TransferSettings("head"), [1, 1, 1]),
        (TransferSettings("last_stages", num_stages=3), [4, 4, 4]),
        (TransferSettings("gradual"), [1, 4, 5]),
        (TransferSettings("gradual", unfreeze_every=3), [1, 2, 4]),
    ],
)
def test_groups_that_learn(settings, expected):
    assert [num_trainable_groups(settings, epoch, 5) for epoch in (0, 3, 9)] == expected


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TransferSettings("last_stages", num_stages=0), r"transfer\.num_stages: got 0, expected 1 or more"),
        (lambda: TransferSettings(layer_decay=0.0), r"transfer\.layer_decay: got 0\.0, expected a factor in \(0, 1\]"),
        (lambda: TransferSettings(unfreeze_every=0), r"transfer\.unfreeze_every: got 0, expected 1 or more epochs"),
        (
            lambda: TransferSettings(num_stages=2),
            r"transfer\.num_stages: got 2, expected 1, its default, with mode=full: only mode=last_stages has",
        ),
        (lambda: TransferSettings("gradual", layer_decay=0.5), r"transfer\.layer_decay: got 0\.5, expected 0\.75, its"),
        (lambda: TransferSettings("head", unfreeze_every=2), r"transfer\.unfreeze_every: got 2, .*mode=gradual has"),
    ],
)
def test_mistakes_are_named(make: Callable[[], object], message):
    with pytest.raises(ValueError, match=message):
        make()


def test_more_stages_than_there_are(make_trainer):
    module = learner("plain", TransferSettings("last_stages", num_stages=5))
    with pytest.raises(ValueError, match=r"transfer\.num_stages: got 5, expected at most 4.*mode=full"):
        make_trainer().fit(module, batches(), batches())
