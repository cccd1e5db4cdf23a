"""The losses of masks: by hand, against PyTorch's, and untouched by pixels that do not count."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_modules.losses import cross_entropy, dice_loss, focal_loss, known_targets, segmentation_loss

NUM_CLASSES = 4
WEIGHTS = torch.tensor([0.1, 2.0, 1.0, 0.5])


def logits(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 2


def masks(seed: int = 0) -> Tensor:
    """Return masks ``(3, 6, 5)`` with unlabelled and ignored pixels."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(0, NUM_CLASSES, (3, 6, 5), generator=generator)
    targets[0, :2], targets[2, :, 3:] = 255, -1
    return targets


LOSSES = {
    "cross_entropy": cross_entropy,
    "cross_entropy_weighted": lambda x, y: cross_entropy(x, y, class_weights=WEIGHTS),
    "dice": dice_loss,
    "focal": lambda x, y: focal_loss(x, y, 2.0),
    "focal_sharp": lambda x, y: focal_loss(x, y, 0.5, WEIGHTS),
    "sum": lambda x, y: segmentation_loss(x, y, focal_weight=1.0),
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("ignored", [-1, 255])
def test_nothing_known_is_zero_with_zero_gradients(name, ignored):
    student = logits(2, NUM_CLASSES, 3, 3).requires_grad_()
    loss = LOSSES[name](student, torch.full((2, 3, 3), ignored))
    loss.backward()
    assert loss == 0
    assert (student.grad == 0).all()


@pytest.mark.parametrize("name", LOSSES)
def test_what_stands_at_ignored_pixels_does_not_matter(name):
    student, targets = logits(3, NUM_CLASSES, 6, 5), masks()
    ignored = ~known_targets(targets).unsqueeze(1)
    other = torch.where(ignored, logits(3, NUM_CLASSES, 6, 5, seed=1), student).requires_grad_()
    loss = LOSSES[name](other, targets)
    torch.testing.assert_close(loss, LOSSES[name](student, targets))
    torch.testing.assert_close(loss, LOSSES[name](student, targets.masked_fill(targets == -1, 255)))
    loss.backward()
    assert (other.grad.masked_select(ignored) == 0).all()
    assert other.grad.masked_select(~ignored).abs().min() > 0


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_those_of_the_values(name):
    single, targets = logits(3, NUM_CLASSES, 6, 5).requires_grad_(), masks()
    (gradient,) = torch.autograd.grad(LOSSES[name](single, targets), single)
    direction, step = logits(*single.shape, seed=3), 1e-2
    with torch.no_grad():
        ahead, behind = (LOSSES[name](single + sign * step * direction, targets) for sign in (1, -1))
    torch.testing.assert_close((gradient * direction).sum(), (ahead - behind) / (2 * step), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("name", LOSSES)
def test_low_precision_logits_are_compared_in_float32(name):
    student, targets = logits(3, NUM_CLASSES, 6, 5).bfloat16(), masks()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = LOSSES[name](student, targets)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, LOSSES[name](student.float(), targets))


@pytest.mark.parametrize("name", LOSSES)
def test_saturated_logits_have_finite_gradients(name):
    targets = masks()
    right = F.one_hot(targets.clamp(0, NUM_CLASSES - 1), NUM_CLASSES).permute(0, 3, 1, 2) * 200.0
    for saturated in (right, -right):
        saturated.requires_grad_()
        (gradient,) = torch.autograd.grad(LOSSES[name](saturated, targets), saturated)
        assert gradient.isfinite().all()
    assert LOSSES[name](right, targets) < 1e-5


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_cross_entropy_is_pytorchs(weights):
    student, targets = logits(3, NUM_CLASSES, 6, 5), masks()
    expected = F.cross_entropy(student, targets.masked_fill(targets == -1, 255), weights, ignore_index=255)
    torch.testing.assert_close(cross_entropy(student, targets, class_weights=weights), expected)
    torch.testing.assert_close(focal_loss(student, targets, 0.0, weights), expected)


def test_255_is_a_class_like_others_where_whole_images_are_classified():
    student, targets = logits(4, 300), torch.tensor([255, 3, -1, 299])
    torch.testing.assert_close(cross_entropy(student, targets), F.cross_entropy(student, targets, ignore_index=-1))
    assert known_targets(targets).tolist() == [True, True, False, True]


def test_dice_by_hand():
    probabilities = torch.tensor([[0.8, 0.4], [0.2, 0.6]]).view(1, 2, 1, 2)
    targets = torch.tensor([[[0, 1]]])
    expected = 1 - (2 * 0.8 / (1.2 + 1) + 2 * 0.6 / (0.8 + 1)) / 2
    assert float(dice_loss(probabilities.log(), targets)) == pytest.approx(expected)
    assert float(dice_loss(probabilities.log(), torch.tensor([[[0, 255]]]))) == pytest.approx(1 - 2 * 0.8 / 1.8)


def test_dice_is_of_the_batch_and_of_the_classes_it_holds():
    student, targets = logits(3, NUM_CLASSES, 6, 5), masks().clamp(max=255)
    targets[targets == 2] = 1
    side_by_side = student.transpose(0, 1).reshape(1, NUM_CLASSES, 18, 5), targets.reshape(1, 18, 5)
    torch.testing.assert_close(dice_loss(student, targets), dice_loss(*side_by_side))
    right = F.one_hot(targets.clamp(0, NUM_CLASSES - 1), NUM_CLASSES).permute(0, 3, 1, 2) * 100.0
    assert dice_loss(right, targets) == pytest.approx(0, abs=1e-6)


def test_focal_by_hand():
    student = torch.tensor([0.9, 0.1]).log().view(1, 2, 1, 1).expand(1, 2, 1, 2)
    expected = -(0.1**2 * math.log(0.9) + 0.9**2 * math.log(0.1)) / 2
    assert float(focal_loss(student, torch.tensor([[[0, 1]]]), 2.0)) == pytest.approx(expected)
    weighted = -(3 * 0.1**2 * math.log(0.9) + 0.9**2 * math.log(0.1)) / 4
    assert float(focal_loss(student, torch.tensor([[[0, 1]]]), 2.0, torch.tensor([3, 1]))) == pytest.approx(weighted)


def test_the_sum_is_weighted():
    student, targets = logits(3, NUM_CLASSES, 6, 5), masks()
    loss = segmentation_loss(
        student,
        targets,
        cross_entropy_weight=0.5,
        dice_weight=2.0,
        focal_weight=3.0,
        focal_gamma=1.0,
        class_weights=WEIGHTS,
    )
    expected = 0.5 * cross_entropy(student, targets, class_weights=WEIGHTS) + 2 * dice_loss(student, targets)
    torch.testing.assert_close(loss, expected + 3 * focal_loss(student, targets, 1.0, WEIGHTS))
    plain = segmentation_loss(student, targets)
    torch.testing.assert_close(plain, cross_entropy(student, targets) + dice_loss(student, targets))
    assert segmentation_loss(student, targets, cross_entropy_weight=0, dice_weight=0) == 0


def test_gradient_steps_find_the_mask():
    student, targets = torch.zeros(3, NUM_CLASSES, 6, 5, requires_grad=True), masks()
    optimizer = torch.optim.Adam([student], lr=0.3)
    for _ in range(40):
        optimizer.zero_grad()
        segmentation_loss(student, targets, focal_weight=1.0).backward()
        optimizer.step()
    known = known_targets(targets)
    assert torch.equal(student.argmax(1)[known], targets[known])
    assert segmentation_loss(student, targets) < 0.05
