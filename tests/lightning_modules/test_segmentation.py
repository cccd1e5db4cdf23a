"""The loss of masks is the weighted sum that was asked for; students of masks learn by the modules of classes."""

import pytest
import torch
from torch import nn

from lightning_modules.distillation import DistillationModule
from lightning_modules.losses import cross_entropy, dice_loss, focal_loss, segmentation_loss, soft_label_loss
from lightning_modules.noisy_student import NoisyStudentModule
from lightning_modules.segmentation import MaskLoss, SegmentationModule
from lightning_modules.segmentation_metrics import SegmentationMetrics
from lightning_modules.settings import DistillationSettings, MaskLossSettings, PseudoLabelLossSettings
from lightning_modules.student import StudentModule

LOGITS = torch.randn(2, 3, 6, 5, generator=torch.Generator().manual_seed(0))
MASKS = torch.randint(0, 3, (2, 6, 5), generator=torch.Generator().manual_seed(1))


@pytest.fixture(autouse=True)
def _at_the_start_of_a_run(monkeypatch):
    monkeypatch.setattr(StudentModule, "track", lambda *_: None)
    monkeypatch.setattr(StudentModule, "progress", 0.0)


def step(module, batch) -> float:
    return float(module.training_step(batch, 0).detach())


def convolution(seed: int = 0) -> nn.Conv2d:
    torch.manual_seed(seed)
    return nn.Conv2d(1, 3, 1)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (MaskLossSettings(), cross_entropy(LOGITS, MASKS) + dice_loss(LOGITS, MASKS)),
        (MaskLossSettings(2, 0), 2 * cross_entropy(LOGITS, MASKS)),
        (MaskLossSettings(0, 0.5), 0.5 * dice_loss(LOGITS, MASKS)),
        (MaskLossSettings(0, 0, 3, 1.5), 3 * focal_loss(LOGITS, MASKS, 1.5)),
        (
            MaskLossSettings(1, 0, class_weights=[1, 0, 2]),
            cross_entropy(LOGITS, MASKS, class_weights=torch.tensor([1.0, 0, 2])),
        ),
    ],
)
def test_each_weight_is_that_of_its_loss(settings, expected):
    torch.testing.assert_close(MaskLoss(3, settings)(LOGITS, MASKS), expected)


def test_the_module_learns_by_it():
    images, network = torch.rand(2, 1, 6, 5), convolution()
    module = SegmentationModule(network, 3, mask_loss=MaskLossSettings(0.5, 2))
    expected = segmentation_loss(network(images), MASKS, cross_entropy_weight=0.5, dice_weight=2).detach()
    assert step(module, (images, MASKS)) == pytest.approx(float(expected))
    assert module.monitor == "val/mean_iou"


def test_a_batch_without_a_known_pixel_has_no_loss_and_no_nan():
    images, network = torch.rand(2, 1, 6, 5), convolution()
    module = SegmentationModule(network, 3)
    for nothing in (255, -1):
        loss = module.supervised_loss(network(images), torch.full_like(MASKS, nothing))
        loss.backward()
        assert float(loss.detach()) == 0
        assert float(network.weight.grad.abs().sum()) == 0


def test_class_weights_move_with_the_module_and_stay_out_of_checkpoints():
    module = SegmentationModule(convolution(), 3, mask_loss=MaskLossSettings(class_weights=[1, 2, 3]))
    assert module.state_dict().keys() == {"network.weight", "network.bias"}
    assert module.to("meta").supervised_loss.class_weights.is_meta


def test_the_boundary_is_measured_where_asked():
    metrics = SegmentationModule(convolution(), 3, boundary=True).metrics["val"]
    metrics.update(LOGITS, MASKS)
    assert metrics.compute().keys() == {"mean_iou", "accuracy", "boundary_f1"}


def test_distillation_has_the_loss_of_masks_beside_the_kl():
    images, student, teacher = torch.rand(2, 1, 6, 5), convolution(0), convolution(1)
    masks = MASKS.clone()
    masks[1], masks[0, 0] = -1, 255
    loss = MaskLoss(3, MaskLossSettings())
    module = DistillationModule(
        student,
        teacher,
        3,
        distillation=DistillationSettings(temperature=2, alpha=0.25),
        metrics=SegmentationMetrics(3),
        supervised_loss=loss,
    )
    taught = soft_label_loss(student(images), teacher(images), 2, masks != 255)
    expected = (0.75 * loss(student(images), masks) + 0.25 * taught).detach()
    assert step(module, (images, masks)) == pytest.approx(float(expected))


def test_a_noisy_student_has_it_for_its_labelled_images():
    images, network, loss = torch.rand(4, 1, 6, 5), convolution(), MaskLoss(3, MaskLossSettings())
    pseudo = torch.where(MASKS == 2, 255, MASKS)
    module = NoisyStudentModule(
        network,
        3,
        pseudo_labels=PseudoLabelLossSettings(weight=0.5),
        metrics=SegmentationMetrics(3),
        supervised_loss=loss,
    )
    batch = {"labeled": (images[:2], MASKS), "pseudo_labeled": (images[2:], pseudo)}
    expected = (loss(network(images[:2]), MASKS) + 0.5 * cross_entropy(network(images[2:]), pseudo)).detach()
    assert step(module, batch) == pytest.approx(float(expected))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dice_weight": -1}, r"mask_loss\.dice_weight: got -1, expected 0 or more"),
        ({"focal_gamma": -1}, r"mask_loss\.focal_gamma: got -1"),
        ({"cross_entropy_weight": 0, "dice_weight": 0}, r"expected a weight above 0 for one of the losses"),
        ({"class_weights": [0, 0]}, r"mask_loss\.class_weights: got \[0, 0\], expected one number a class"),
        ({"class_weights": []}, r"mask_loss\.class_weights: got \[\]"),
    ],
)
def test_weights_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        MaskLossSettings(**options)


def test_there_is_a_weight_for_each_class():
    with pytest.raises(ValueError, match=r"got \[1, 2\], expected one number for each of the 3 classes"):
        MaskLoss(3, MaskLossSettings(class_weights=[1, 2]))
