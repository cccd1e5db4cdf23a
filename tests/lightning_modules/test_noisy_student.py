"""The noisy student's loss is the paper's equation, on both streams in one pass, and never sees the truth."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from datamodules.batch import Batch
from datamodules.labeled import LabeledDataModule
from datamodules.pseudo_labeled import PseudoLabeledDataModule
from datamodules.pseudo_labels import PseudoLabels, TableMetadata
from datamodules.unlabeled import UnlabeledDataModule
from lightning_modules.classification import ClassificationModule, smoothed_cross_entropy
from lightning_modules.noisy_student import NoisyStudentModule, pseudo_label_loss, split_streams
from lightning_modules.settings import OptimizerSettings, PseudoLabelLossSettings
from tests.conftest import make_source

SGD = OptimizerSettings(name="sgd", lr=0.1, schedule="constant")


def linear(num_classes: int = 3, size: int = 8) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(size * size, num_classes))


def table_of(labeled: LabeledDataModule) -> PseudoLabels:
    ids = labeled.pool.ids.sort().values
    probabilities = torch.rand(len(ids), 3, generator=torch.Generator().manual_seed(1)).mul(4).softmax(dim=1)
    return PseudoLabels(ids, probabilities, TableMetadata("ab" * 32, "stripes", labeled.source.class_names))


def fitted_weights(make_trainer, module, data, **options):
    make_trainer(limit_val_batches=0, **options).fit(module, data)
    return torch.cat([parameter.detach().flatten() for parameter in module.network.parameters()])


def test_the_soft_loss_by_hand():
    logits = torch.tensor([[0.0, 0.0]])
    soft = torch.tensor([[0.75, 0.25]])
    # KL(p || uniform) = log 2 - entropy(p)
    expected = 0.75 * torch.tensor(1.5).log() + 0.25 * torch.tensor(0.5).log()
    torch.testing.assert_close(pseudo_label_loss(logits, soft, 1.0), expected)
    # At T=2 probabilities go as their roots: sqrt 3 to 1.
    tempered = torch.tensor([3.0, 1.0]).sqrt() / (3.0**0.5 + 1)
    expected = 4 * (tempered * (2 * tempered).log()).sum()
    torch.testing.assert_close(pseudo_label_loss(logits, soft, 2.0), expected)


def test_a_student_that_says_the_same_has_no_loss():
    logits = torch.randn(5, 4)
    for temperature in (1.0, 3.0):
        loss = pseudo_label_loss(logits, logits.softmax(dim=1), temperature)
        torch.testing.assert_close(loss, torch.tensor(0.0), atol=1e-5, rtol=0)


@pytest.mark.parametrize("shape", [(6, 4), (2, 4, 3, 5)])
def test_at_temperature_one_the_gradient_is_that_of_cross_entropy_with_soft_targets(shape):
    logits = torch.randn(shape, requires_grad=True)
    soft = torch.randn(shape).softmax(dim=1)
    (ours,) = torch.autograd.grad(pseudo_label_loss(logits, soft, 1.0), logits)
    (theirs,) = torch.autograd.grad(F.cross_entropy(logits, soft), logits)
    torch.testing.assert_close(ours, theirs)


def test_certain_pseudo_labels_are_hard_ones_and_give_no_nan():
    logits = torch.randn(4, 3, requires_grad=True)
    labels = torch.tensor([0, 2, 1, 1])
    certain = F.one_hot(labels, 3).float()
    hard = pseudo_label_loss(logits, labels, 1.0)
    torch.testing.assert_close(pseudo_label_loss(logits, certain, 1.0), hard)
    torch.testing.assert_close(hard, F.cross_entropy(logits, labels))
    for temperature in (0.5, 4.0):
        (gradient,) = torch.autograd.grad(pseudo_label_loss(logits, certain, temperature), logits)
        assert gradient.isfinite().all()


@pytest.mark.parametrize("soft", [True, False])
def test_a_map_is_as_many_samples_as_pixels(soft):
    logits, probabilities = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5).softmax(dim=1)
    flat_logits, flat = (maps.permute(0, 2, 3, 1).reshape(-1, 3) for maps in (logits, probabilities))
    if not soft:
        probabilities, flat = probabilities.argmax(dim=1), flat.argmax(dim=1)
    torch.testing.assert_close(pseudo_label_loss(logits, probabilities, 2.0), pseudo_label_loss(flat_logits, flat, 2.0))


def streams(num_labeled=4, num_pseudo_labeled=6, soft_targets=False):
    images = torch.rand(num_labeled + num_pseudo_labeled, 1, 8, 8)
    labels = torch.arange(num_labeled) % 3
    targets = torch.randn(num_labeled, 3).softmax(dim=1) if soft_targets else labels
    pseudo_labels = torch.randn(num_pseudo_labeled, 3).softmax(dim=1)
    return {
        "labeled": Batch(images[:num_labeled], targets, torch.arange(num_labeled)),
        "pseudo_labeled": Batch(images[num_labeled:], pseudo_labels, torch.arange(num_pseudo_labeled)),
    }


def loss_of(module, batch, step=0, num_steps=10):
    """Return the loss of a step, at a point of the training, without a trainer."""
    module._num_steps = num_steps
    type(module).global_step = property(lambda _: step)
    module.track = lambda *_: None
    try:
        return module.training_step(batch, 0)
    finally:
        del type(module).global_step


@pytest.mark.parametrize("soft_targets", [False, True])
def test_the_step_is_the_papers_equation(soft_targets):
    batch = streams(soft_targets=soft_targets)
    network = linear()
    settings = PseudoLabelLossSettings(temperature=2, weight=0.7)
    module = NoisyStudentModule(network, 3, pseudo_labels=settings, supervised_loss=smoothed_cross_entropy(0.1))
    labeled, pseudo_labeled = batch.values()
    supervised = F.cross_entropy(network(labeled.images), labeled.targets, label_smoothing=0.1)
    taught = F.kl_div(
        F.log_softmax(network(pseudo_labeled.images) / 2, dim=1),
        (pseudo_labeled.targets.log() / 2).softmax(dim=1),
        reduction="batchmean",
    )
    torch.testing.assert_close(loss_of(module, batch), supervised + 0.7 * 4 * taught)
    reordered = dict(reversed(batch.items()))
    torch.testing.assert_close(loss_of(module, reordered), loss_of(module, batch))


def test_batch_norm_sees_both_streams_in_one_pass():
    batch = streams()
    seen = []
    network = nn.Sequential(nn.BatchNorm2d(1, momentum=1.0), linear())
    network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    loss_of(NoisyStudentModule(network, 3), batch)
    together = torch.cat([stream.images for stream in batch.values()])
    assert len(seen) == 1
    assert torch.equal(seen[0], together)
    torch.testing.assert_close(network[0].running_mean, together.mean().view(1))


@pytest.mark.parametrize(
    ("ramp_up", "weights"), [(0.0, [0.8] * 5), (0.5, [0, 0.4, 0.8, 0.8, 0.8]), (1.0, [0, 0.2, 0.4, 0.6, 0.8])]
)
def test_the_weight_rises_over_the_ramp(ramp_up, weights):
    batch, network = streams(), linear()
    settings = PseudoLabelLossSettings(weight=0.8, ramp_up=ramp_up)
    module = NoisyStudentModule(network, 3, pseudo_labels=settings)
    labeled, pseudo_labeled = batch.values()
    supervised = F.cross_entropy(network(labeled.images), labeled.targets)
    taught = pseudo_label_loss(network(pseudo_labeled.images), pseudo_labeled.targets, 1.0)
    for step, weight in zip((0, 25, 50, 75, 100), weights, strict=True):
        torch.testing.assert_close(loss_of(module, batch, step, 100), supervised + weight * taught)


def test_without_weight_or_stream_it_is_supervised_learning(source, make_trainer):
    labeled = LabeledDataModule(source, labels_per_class=4, batch_size=6, steps_per_epoch=5)
    network = linear()
    start = {name: value.clone() for name, value in network.state_dict().items()}
    both = PseudoLabeledDataModule(labeled, table_of(labeled), steps_per_epoch=5)
    nothing, smoothed = PseudoLabelLossSettings(weight=0), smoothed_cross_entropy(0.1)
    cases = [
        (ClassificationModule(network, 3, optimizer=SGD, label_smoothing=0.1), labeled),
        (NoisyStudentModule(network, 3, optimizer=SGD, supervised_loss=smoothed), labeled),
        (NoisyStudentModule(network, 3, optimizer=SGD, supervised_loss=smoothed, pseudo_labels=nothing), both),
    ]
    weights = []
    for module, data in cases:
        network.load_state_dict(start)
        weights.append(fitted_weights(make_trainer, module, data))
    assert torch.equal(weights[0], weights[1])
    torch.testing.assert_close(weights[0], weights[2])


@pytest.mark.parametrize("labels", ["soft", "hard"])
def test_truth_is_never_used(make_trainer, labels):
    weights = []
    for has_noise in (False, True):
        source = make_source()
        labeled = LabeledDataModule(source, labels_per_class=4, batch_size=6)
        if has_noise:
            noise = torch.randint(0, 3, (len(labeled.pool),), generator=torch.Generator().manual_seed(5))
            assert not torch.equal(noise, labeled.pool.targets)
            labeled.pool = replace(labeled.pool, targets=noise)
        data = PseudoLabeledDataModule(labeled, table_of(labeled), labels=labels, steps_per_epoch=4)
        torch.manual_seed(0)
        weights.append(fitted_weights(make_trainer, NoisyStudentModule(linear(), 3, optimizer=SGD), data))
    assert torch.equal(*weights)


def test_pseudo_labels_teach_what_no_label_says(source, make_trainer):
    labeled = LabeledDataModule(source, labels_per_class=1, batch_size=4)
    table = table_of(labeled)
    truth = dict(zip(labeled.pool.ids.tolist(), labeled.pool.targets.tolist(), strict=True))
    correct = F.one_hot(torch.tensor([truth[number] for number in table.ids.tolist()]), 3) * 0.8 + 0.2 / 3
    data = PseudoLabeledDataModule(
        labeled, replace(table, probabilities=correct), pseudo_labeled_ratio=4, steps_per_epoch=5
    )
    trainer = make_trainer(max_epochs=12)
    module = NoisyStudentModule(linear(), 3, optimizer=OptimizerSettings(lr=0.03))
    trainer.fit(module, data)
    assert trainer.test(module, data, verbose=False)[0]["test/accuracy"] > 0.9


def test_auxiliary_classifiers_learn_too():
    class WithAuxiliary(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = linear()

        def forward(self, images):
            return self.body(images)

        def forward_with_auxiliary(self, images):
            return self.body(images), (self.body(images),)

    batch, network = streams(), WithAuxiliary()
    plain = loss_of(NoisyStudentModule(network.body, 3), batch)
    torch.testing.assert_close(loss_of(NoisyStudentModule(network, 3), batch), 1.3 * plain)


def test_other_streams_are_refused(source, make_trainer):
    data = UnlabeledDataModule(LabeledDataModule(source, labels_per_class=4, batch_size=6))
    with pytest.raises(ValueError, match=r"hold labeled, unlabeled, expected labeled and pseudo_labeled; train"):
        make_trainer().fit(NoisyStudentModule(linear(), 3), data)


def test_a_labelled_batch_is_taken_as_it_is():
    batch = streams()["labeled"]
    images, targets, pseudo_labels = split_streams(batch)
    assert images is batch.images
    assert targets is batch.targets
    assert pseudo_labels is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"temperature": 0}, r"pseudo_labels\.temperature: got 0, expected a temperature above 0"),
        ({"weight": -1}, r"pseudo_labels\.weight: got -1, expected 0 .* or more"),
        ({"weight": float("nan")}, r"pseudo_labels\.weight: got nan"),
        ({"ramp_up": 1.5}, r"pseudo_labels\.ramp_up: got 1\.5, expected a share of the training in 0\.\.1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        PseudoLabelLossSettings(**values)
    with pytest.raises(ValueError, match=r"label_smoothing: got 1"):
        smoothed_cross_entropy(1)
