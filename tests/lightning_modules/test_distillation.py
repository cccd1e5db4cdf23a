"""The distillation module: what its loss is made of, on every kind of batch."""

import math

import pytest
import torch
from torch import nn

from datamodules.batch import Batch, unit_interval
from datamodules.labeled import LabeledDataModule
from datamodules.unlabeled import UnlabeledDataModule
from lightning_modules.distillation import DistillationModule, join_streams
from lightning_modules.losses import distillation_loss
from lightning_modules.settings import DistillationSettings, OptimizerSettings


def linear(num_classes: int = 3, size: int = 8) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(size * size, num_classes))


def test_streams_are_joined_in_one_forward():
    labeled = Batch(torch.rand(4, 1, 8, 8), torch.tensor([0, 1, 2, 0]), torch.arange(4))
    unlabeled = Batch(torch.rand(2, 1, 8, 8), torch.tensor([-1, -1]), torch.arange(2))
    images, targets = join_streams({"labeled": labeled, "unlabeled": unlabeled})
    assert torch.equal(images, torch.cat([labeled.images, unlabeled.images]))
    assert targets.tolist() == [0, 1, 2, 0, -1, -1]
    assert join_streams(labeled)[0] is labeled.images


class Recorder(nn.Module):
    """A network that notes what it is given."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.seen: list[torch.Tensor] = []

    def forward(self, images):
        self.seen.append(images.detach().clone())
        return self.body(images)


def test_the_step_is_the_papers_equation_on_the_same_pixels(source, make_trainer):
    student, teacher = Recorder(linear()), Recorder(linear())
    before = [parameter.detach().clone() for parameter in student.parameters()]
    data = UnlabeledDataModule(LabeledDataModule(source, labels_per_class=4, batch_size=8), batch_size=16)
    settings = DistillationSettings(temperature=3, alpha=0.6)
    module = DistillationModule(
        student, teacher, 3, distillation=settings, optimizer=OptimizerSettings(name="sgd", lr=0.1)
    )
    losses = []
    module.track = lambda loss, *_: losses.append(loss.detach())  # type: ignore[method-assign]
    module.on_train_epoch_end = lambda: None  # type: ignore[method-assign]
    make_trainer(max_steps=1, limit_val_batches=0).fit(module, data)

    assert len(student.seen[0]) == 24
    assert torch.equal(student.seen[0], teacher.seen[0])
    fresh = linear()
    for parameter, value in zip(fresh.parameters(), before, strict=True):
        parameter.data = value
    targets = source.train.targets[:0].new_full((24,), -1)
    images = student.seen[0]
    stored = {tuple(i.flatten().tolist()): t for i, t in zip(images_of(data), data.labeled.train.targets, strict=True)}
    targets[:8] = torch.tensor([int(stored[tuple(image.flatten().tolist())]) for image in images[:8]])
    expected = distillation_loss(fresh(images), teacher.body(images), targets, alpha=0.6, temperature=3)
    torch.testing.assert_close(losses[0], expected.detach())


def images_of(data: UnlabeledDataModule) -> torch.Tensor:
    labeled = data.labeled.train
    return unit_interval(labeled.images(torch.arange(len(labeled))))


def test_other_numbers_of_classes_are_refused(source, make_trainer):
    module = DistillationModule(linear(3), linear(5), 3)
    with pytest.raises(ValueError, match=r"teacher: its logits are \(\d+, 5\).* not on 5"):
        make_trainer().fit(module, LabeledDataModule(source, batch_size=16))


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_temperature_and_alpha_move_to_their_ends(source, make_trainer, schedule):
    settings = DistillationSettings(temperature=8, temperature_end=2, alpha=1, alpha_end=0, schedule=schedule)
    module = DistillationModule(linear(), linear(), 3, distillation=settings)
    seen = []
    original = module.track

    def track(loss, logits, targets):
        seen.append((module.temperature(module.progress), module.alpha(module.progress)))
        original(loss, logits, targets)

    module.track = track  # type: ignore[method-assign]
    make_trainer(max_epochs=10, limit_val_batches=0).fit(module, LabeledDataModule(source, batch_size=6))
    assert len(seen) == 90
    assert seen[0] == (8, 1)
    assert seen[45] == (pytest.approx(5), pytest.approx(0.5))
    assert seen[-1][0] == pytest.approx(2, abs=0.1)
    temperatures = [temperature for temperature, _ in seen]
    assert temperatures == sorted(temperatures, reverse=True)


def test_a_student_learns_what_its_teacher_knows_without_any_label(source, make_trainer):
    teacher = linear()
    supervised = LabeledDataModule(source, batch_size=16)
    from lightning_modules.classification import ClassificationModule

    optimizer = OptimizerSettings(lr=0.01)
    make_trainer(max_epochs=20).fit(ClassificationModule(teacher, 3, optimizer=optimizer), supervised)
    settings = DistillationSettings(alpha=1, temperature=2)
    module = DistillationModule(linear(), teacher, 3, distillation=settings, optimizer=optimizer)
    trainer = make_trainer(max_epochs=20)
    trainer.fit(module, supervised)
    assert trainer.test(module, supervised, verbose=False)[0]["test/accuracy"] > 0.9


def test_a_loss_that_is_not_finite_stops_training_at_that_step(source, make_trainer):
    class Breaking(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = linear()
            self.steps = 0

        def forward(self, images):
            self.steps += self.training
            return self.body(images) * (math.nan if self.steps == 3 else 1)

    from lightning_modules.student import NonFiniteLossError

    student = Breaking()
    with pytest.raises(NonFiniteLossError, match="the training loss is nan at step 2: training stopped"):
        make_trainer(limit_val_batches=0).fit(
            DistillationModule(student, linear(), 3), LabeledDataModule(source, batch_size=6)
        )
    assert student.steps == 3
