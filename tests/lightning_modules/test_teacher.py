"""The teacher stays what it is."""

import copy

import torch
from torch import nn

from lightning_modules.distillation import DistillationModule
from lightning_modules.teacher import FrozenTeacher, state_digest


def network() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))


def test_is_frozen_and_in_evaluation_mode_whoever_calls_train():
    teacher = FrozenTeacher(network())
    images = torch.rand(4, 1, 4, 4)
    before = teacher(images)
    teacher.network.train()
    assert torch.equal(teacher(images), before)  # neither dropout nor batch statistics
    assert not before.requires_grad
    assert not any(parameter.requires_grad for parameter in teacher.network.parameters())


def test_is_not_among_the_students_parameters_modules_or_state():
    module = DistillationModule(network(), network(), num_classes=3)
    assert not any("teacher" in name for name, _ in module.named_modules())
    assert not any("teacher" in name for name in module.state_dict())
    student = {id(parameter) for parameter in module.network.parameters()}
    assert {id(parameter) for parameter in module.parameters()} == student


def test_training_the_student_changes_nothing_of_the_teacher(source, make_trainer):
    from datamodules.labeled import LabeledDataModule

    teacher = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))
    student = copy.deepcopy(teacher)
    before, student_before = state_digest(teacher), state_digest(student)
    make_trainer(max_epochs=2).fit(DistillationModule(student, teacher, 3), LabeledDataModule(source, batch_size=16))
    assert state_digest(teacher) == before
    assert state_digest(student) != student_before


def test_digest_depends_on_values_and_names():
    one = network()
    other = copy.deepcopy(one)
    assert FrozenTeacher(one).digest() == FrozenTeacher(other).digest()
    with torch.no_grad():
        other[1].weight[0, 0] += 1e-3
    assert state_digest(one) != state_digest(other)
