"""The distillation loss: its known values, its peers, its gradient's scale."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_modules.losses import cross_entropy, distillation_loss, hard_label_loss, soft_label_loss


def logits(*shape: int, seed: int = 0, scale: float = 3.0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * scale


def timm_loss(student: Tensor, teacher: Tensor, targets: Tensor, alpha: float, temperature: float) -> Tensor:
    """timm 1.0.31, timm/task/distillation.py, LogitDistillationTask: kl_div(batchmean) * T^2."""
    log_student = F.log_softmax(student / temperature, dim=-1)
    log_teacher = F.log_softmax(teacher / temperature, dim=-1)
    distilled = F.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True) * temperature**2
    return (1 - alpha) * F.cross_entropy(student, targets) + alpha * distilled


def torchdistill_loss(
    student: Tensor, teacher: Tensor, targets: Tensor | None, alpha: float, temperature: float
) -> Tensor:
    """torchdistill 1.1.5, losses/mid_level.py, KDLoss: its alpha weighs the cross-entropy; without targets no T^2."""
    soft = nn.KLDivLoss(reduction="batchmean")(
        torch.log_softmax(student / temperature, dim=1), torch.softmax(teacher / temperature, dim=1)
    )
    if targets is None:
        return soft
    hard = F.cross_entropy(student, targets)
    return (1 - alpha) * hard + alpha * temperature**2 * soft


@pytest.mark.parametrize("peer", [timm_loss, torchdistill_loss])
@pytest.mark.parametrize("temperature", [1.0, 2.0, 4.0, 8.0])
@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_equals_peers_on_labelled_batches(peer, temperature, alpha):
    student, teacher, targets = logits(32, 10, seed=1), logits(32, 10, seed=2), torch.arange(32) % 10
    ours = distillation_loss(student, teacher, targets, alpha=alpha, temperature=temperature)
    torch.testing.assert_close(ours, peer(student, teacher, targets, alpha, temperature), atol=1e-5, rtol=1e-5)


def gradient_norm(loss_of, temperature: float) -> float:
    student, teacher = logits(64, 10, seed=1, scale=0.5).requires_grad_(), logits(64, 10, seed=2, scale=0.5)
    (gradient,) = torch.autograd.grad(loss_of(student, teacher, temperature), student)
    return float(gradient.norm())


def test_unlabelled_batches_keep_the_gradients_scale_where_torchdistill_does_not():
    unlabeled = torch.full((64,), -1)

    def ours(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        return distillation_loss(student, teacher, unlabeled, alpha=1.0, temperature=temperature)

    def theirs(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        return torchdistill_loss(student, teacher, None, 1.0, temperature)

    assert gradient_norm(ours, 4.0) / gradient_norm(ours, 1.0) == pytest.approx(1, abs=0.1)
    assert gradient_norm(theirs, 4.0) / gradient_norm(theirs, 1.0) < 0.1


def test_unlabelled_samples_have_only_the_kl_term():
    student, teacher = logits(8, 5, seed=1), logits(8, 5, seed=2)
    loss = distillation_loss(student, teacher, torch.full((8,), -1), alpha=0.7, temperature=3.0)
    torch.testing.assert_close(loss, 0.7 * soft_label_loss(student, teacher, 3.0))


def test_cross_entropy_is_averaged_over_labelled_samples_alone():
    student, targets = logits(6, 5), torch.tensor([0, 1, -1, -1, 4, -1])
    expected = F.cross_entropy(student[[0, 1, 4]], targets[[0, 1, 4]])
    torch.testing.assert_close(cross_entropy(student, targets), expected)
    assert cross_entropy(student, torch.full((6,), -1)) == 0


def test_equal_logits_have_no_divergence_and_no_gradient():
    student = logits(4, 7).requires_grad_()
    loss = soft_label_loss(student, student.detach(), 4.0)
    (gradient,) = torch.autograd.grad(loss, student)
    assert loss.abs() < 1e-6
    assert gradient.abs().max() < 1e-6


def test_known_value():
    student, teacher = torch.zeros(1, 2), torch.tensor([[torch.tensor(3.0).log(), 0.0]])
    expected = 0.75 * torch.tensor(1.5).log() + 0.25 * torch.tensor(0.5).log()  # KL((3/4, 1/4) || (1/2, 1/2))
    torch.testing.assert_close(soft_label_loss(student, teacher, 1.0), expected)


def test_dense_maps_average_over_pixels():
    student, teacher = logits(2, 5, 3, 4, seed=1), logits(2, 5, 3, 4, seed=2)
    as_rows = [x.permute(0, 2, 3, 1).reshape(-1, 5) for x in (student, teacher)]
    torch.testing.assert_close(soft_label_loss(student, teacher, 2.0), soft_label_loss(*as_rows, 2.0))


def test_hard_labels_are_the_teachers_most_probable_classes():
    student, teacher = logits(8, 5, seed=1), logits(8, 5, seed=2)
    torch.testing.assert_close(hard_label_loss(student, teacher), F.cross_entropy(student, teacher.argmax(1)))
    loss = distillation_loss(student, teacher, torch.zeros(8).long(), alpha=0.5, temperature=4, labels="hard")
    expected = (F.cross_entropy(student, torch.zeros(8).long()) + F.cross_entropy(student, teacher.argmax(1))) / 2
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_logits_are_compared_in_float32(dtype):
    student, teacher = logits(16, 10, seed=1).to(dtype), logits(16, 10, seed=2).to(dtype)
    targets = torch.arange(16) % 10
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = distillation_loss(student, teacher, targets, alpha=0.5, temperature=4)
    assert loss.dtype == torch.float32
    expected = distillation_loss(student.float(), teacher.float(), targets, alpha=0.5, temperature=4)
    torch.testing.assert_close(loss, expected)


def test_gradient_steps_lead_to_the_teacher():
    student, teacher = logits(16, 10, seed=1).requires_grad_(), logits(16, 10, seed=2)
    optimizer = torch.optim.SGD([student], lr=50)
    losses = []
    for _ in range(50):
        loss = soft_label_loss(student, teacher, 2.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.02 * losses[0]
