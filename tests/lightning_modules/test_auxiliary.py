"""Auxiliary classifiers: their losses weigh 0.3 each, in training only."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lightning_modules.classification import ClassificationModule
from lightning_modules.distillation import DistillationModule
from lightning_modules.losses import AUXILIARY_WEIGHT, distillation_loss, with_auxiliary
from lightning_modules.networks import create_network
from lightning_modules.settings import DistillationSettings
from lightning_modules.student import StudentModule


@pytest.fixture(autouse=True)
def tracked(monkeypatch):
    seen = []
    monkeypatch.setattr(StudentModule, "progress", 0.0)
    monkeypatch.setattr(StudentModule, "track", lambda module, loss, logits, targets: seen.append((loss, logits)))
    return seen


class TwoAuxiliary(nn.Module):
    """A body like GoogLeNet's: a tuple in training, logits alone in evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(16, 3) for _ in range(3))
        self.calls = 0

    def forward(self, images):
        self.calls += 1
        outputs = tuple(head(images.flatten(1)) for head in self.heads)
        return outputs if self.training else outputs[0]


def wrapped() -> nn.Module:
    network = create_network("cnn_tiny", num_classes=3, num_channels=1, mean=(0.0,), std=(1.0,))
    network.body = TwoAuxiliary()
    return network


BATCH = torch.rand(5, 1, 4, 4), torch.tensor([0, 1, 2, 0, -1])


def test_the_weight_is_the_papers():
    assert AUXILIARY_WEIGHT == 0.3
    loss = with_auxiliary(torch.sum, torch.tensor([1.0]), [torch.tensor([10.0]), torch.tensor([100.0])])
    assert loss.item() == pytest.approx(1 + 0.3 * 10 + 0.3 * 100)
    assert with_auxiliary(torch.sum, torch.tensor([1.0]), ()).item() == 1


def test_classification_adds_their_cross_entropies(tracked):
    network = wrapped()
    loss = ClassificationModule(network, 3, label_smoothing=0.1).training_step(BATCH, 0)
    flat, targets = BATCH[0].flatten(1), BATCH[1]
    terms = [F.cross_entropy(h(flat), targets, ignore_index=-1, label_smoothing=0.1) for h in network.body.heads]
    torch.testing.assert_close(loss, terms[0] + 0.3 * terms[1] + 0.3 * terms[2])
    assert torch.equal(tracked[0][1], network.body.heads[0](flat))
    assert network.body.calls == 1


def test_distillation_adds_their_distillation_losses():
    student, teacher = wrapped(), wrapped()
    settings = DistillationSettings(temperature=3, alpha=0.6)
    loss = DistillationModule(student, teacher, 3, distillation=settings).training_step(BATCH, 0)
    flat, targets = BATCH[0].flatten(1), BATCH[1]
    taught = teacher.body.heads[0](flat).detach()
    terms = [distillation_loss(h(flat), taught, targets, alpha=0.6, temperature=3) for h in student.body.heads]
    torch.testing.assert_close(loss, terms[0] + 0.3 * terms[1] + 0.3 * terms[2])


def test_the_teacher_is_never_asked_for_auxiliary_logits():
    teacher = create_network("googlenet", num_classes=3, num_channels=1, image_size=16)
    calls = []
    for name in ("aux1", "aux2"):
        getattr(teacher.body, name).register_forward_hook(lambda *_: calls.append(1))
    student = nn.Sequential(nn.Flatten(), nn.Linear(256, 3))
    module = DistillationModule(student, teacher, 3).train()
    module.training_step((torch.rand(2, 1, 16, 16), torch.tensor([0, 1])), 0)
    assert not calls
    assert not teacher.training


def test_evaluation_has_the_main_logits_only():
    network = wrapped()
    module = ClassificationModule(network, 3).eval()
    assert torch.equal(module(BATCH[0]), network.body.heads[0](BATCH[0].flatten(1)))
    assert module.forward_with_auxiliary(BATCH[0])[1] == ()


def test_inceptions_auxiliary_classifier_is_as_published_at_299_and_runs_below():
    from torchvision.models.inception import InceptionAux

    from lightning_modules.networks.inception_auxiliary import AuxiliaryClassifier

    theirs = InceptionAux(8, 4).eval()
    ours = AuxiliaryClassifier(theirs).eval()
    published = torch.rand(2, 8, 17, 17)
    torch.testing.assert_close(ours(published), theirs(published))
    small = torch.rand(2, 8, 3, 3)
    assert ours(small).shape == (2, 4)
    with pytest.raises(RuntimeError, match=r"Kernel size|Output size|too small"):
        theirs(small)
    assert list(ours.state_dict()) == list(theirs.state_dict())
