"""Distillation of masks: what counts, and where classes are."""

import pytest
import torch
from torch import Tensor

from lightning_modules.losses import channel_wise_loss, distillation_loss, hard_label_loss, soft_label_loss
from lightning_modules.settings import DistillationSettings


def logits(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 3


STUDENT, TEACHER = logits(2, 5, 4, 6, seed=1), logits(2, 5, 4, 6, seed=2)
VALID = torch.rand(2, 4, 6, generator=torch.Generator().manual_seed(0)) > 0.4
LOSSES = {
    "soft": lambda student, valid: soft_label_loss(student, TEACHER, 2.0, valid),
    "hard": lambda student, valid: hard_label_loss(student, TEACHER, valid),
    "channel_wise": lambda student, valid: channel_wise_loss(student, TEACHER, 2.0, valid),
}


def test_channel_wise_is_the_papers_equation():
    total = torch.zeros(())
    for student, teacher in zip(STUDENT, TEACHER, strict=True):
        for own, other in zip(student, teacher, strict=True):
            p, q = (torch.exp(x / 3) / torch.exp(x / 3).sum() for x in (own, other))
            total += (q * torch.log(q / p)).sum()
    torch.testing.assert_close(channel_wise_loss(STUDENT, TEACHER, 3.0), total * 9 / 5 / 2)


def test_channel_wise_sees_where_a_class_is_and_not_how_high():
    shifted = TEACHER + torch.arange(5.0).view(1, 5, 1, 1)
    assert channel_wise_loss(shifted, TEACHER, 1.0) == pytest.approx(0, abs=1e-5)
    assert soft_label_loss(shifted, TEACHER, 1.0) > 0.1
    rolled = TEACHER.roll(1, dims=3)
    assert channel_wise_loss(rolled, TEACHER, 1.0) > 0.1


def test_channel_wise_over_valid_pixels_is_that_of_those_pixels_alone():
    valid = torch.zeros(2, 4, 6, dtype=torch.bool)
    valid[:, :, :4] = True
    cropped = channel_wise_loss(STUDENT[..., :4], TEACHER[..., :4], 2.0)
    torch.testing.assert_close(channel_wise_loss(STUDENT, TEACHER, 2.0, valid), cropped)


@pytest.mark.parametrize("name", ["soft", "hard"])
def test_means_are_over_valid_pixels(name):
    rows = [x.permute(0, 2, 3, 1)[VALID] for x in (STUDENT, TEACHER)]
    expected = soft_label_loss(*rows, 2.0) if name == "soft" else hard_label_loss(*rows)
    torch.testing.assert_close(LOSSES[name](STUDENT, VALID), expected)


@pytest.mark.parametrize("name", LOSSES)
def test_what_stands_at_other_pixels_does_not_matter(name):
    other = torch.where(VALID.unsqueeze(1), STUDENT, 50.0).requires_grad_()
    loss = LOSSES[name](other, VALID)
    torch.testing.assert_close(loss, LOSSES[name](STUDENT, VALID))
    (gradient,) = torch.autograd.grad(loss, other)
    assert (gradient.masked_select(~VALID.unsqueeze(1)) == 0).all()
    torch.testing.assert_close(LOSSES[name](STUDENT, torch.ones_like(VALID)), LOSSES[name](STUDENT, None))


@pytest.mark.parametrize("name", LOSSES)
def test_no_valid_pixel_is_zero_with_zero_gradients(name):
    student = STUDENT.clone().requires_grad_()
    loss = LOSSES[name](student, torch.zeros_like(VALID))
    (gradient,) = torch.autograd.grad(loss, student)
    assert loss == 0
    assert (gradient == 0).all()


@pytest.mark.parametrize("labels", LOSSES)
def test_in_masks_255_counts_in_no_term_and_unlabelled_pixels_in_the_second(labels):
    targets = torch.full((2, 4, 6), -1).masked_fill(~VALID, 255)
    loss = distillation_loss(STUDENT, TEACHER, targets, alpha=0.7, temperature=2.0, labels=labels)
    torch.testing.assert_close(loss, 0.7 * LOSSES[labels](STUDENT, VALID))
    targets[:, 0, 0] = 3
    labelled = distillation_loss(STUDENT, TEACHER, targets, alpha=0.0, temperature=2.0, labels=labels)
    torch.testing.assert_close(labelled, -STUDENT.log_softmax(1)[:, 3, 0, 0].mean())
    nothing = torch.full_like(targets, 255)
    assert distillation_loss(STUDENT, TEACHER, nothing, alpha=0.7, temperature=2.0, labels=labels) == 0


def test_channel_wise_needs_masks():
    assert DistillationSettings(labels="channel_wise").labels == "channel_wise"
    with pytest.raises(ValueError, match=r"distillation.labels: got 'channel_wise' with logits of shape \(3, 4\)"):
        channel_wise_loss(torch.zeros(3, 4), torch.zeros(3, 4), 1.0)


def test_channel_wise_is_computed_in_float32():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = channel_wise_loss(STUDENT.bfloat16(), TEACHER.bfloat16(), 2.0)
    torch.testing.assert_close(loss, channel_wise_loss(STUDENT.bfloat16().float(), TEACHER.bfloat16().float(), 2.0))
