"""The nearest-neighbour probe against plain NumPy and scikit-learn, and through a Trainer."""

import numpy as np
import pytest
import torch
from lightning import LightningDataModule
from sklearn.neighbors import KNeighborsClassifier
from torch import nn
from torch.utils.data import DataLoader

from lightning_modules import nearest_neighbors
from lightning_modules.nearest_neighbors import FeatureBatch, NearestNeighborProbe, NearestNeighbors

NUM_CLASSES = 4


@pytest.fixture
def samples() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return a bank ``(60, 8)``, its labels, and 25 samples to classify."""
    generator = torch.Generator().manual_seed(3)
    labels = torch.arange(60) % NUM_CLASSES
    centers = torch.randn(NUM_CLASSES, 8, generator=generator)
    bank = centers[labels] + torch.randn(60, 8, generator=generator)
    return bank, labels, torch.randn(25, 8, generator=generator)


def vote_in_numpy(bank, labels, queries, num_neighbors, temperature):
    """Equation 6 of Wu et al. (2018), one sample at a time, then divided by the sum over the classes."""
    bank, labels, queries = bank.double().numpy(), labels.numpy(), queries.double().numpy()
    probabilities = np.zeros((len(queries), NUM_CLASSES))
    for row, query in enumerate(queries):
        similarities = bank @ query / (np.linalg.norm(bank, axis=1) * np.linalg.norm(query))
        for neighbor in np.argsort(-similarities)[:num_neighbors]:
            probabilities[row, labels[neighbor]] += np.exp(similarities[neighbor] / temperature)
    return probabilities / probabilities.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("num_neighbors", [1, 7, 60])
@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_votes_equal_those_of_plain_numpy(samples, num_neighbors, temperature):
    bank, labels, queries = samples
    probe = NearestNeighbors(bank, labels, NUM_CLASSES, num_neighbors=num_neighbors, temperature=temperature)
    expected = vote_in_numpy(bank, labels, queries, num_neighbors, temperature)
    np.testing.assert_allclose(probe(queries).numpy(), expected, atol=2e-5)


def test_votes_equal_those_of_scikit_learn(samples):
    bank, labels, queries = samples
    peer = KNeighborsClassifier(
        n_neighbors=9, metric="cosine", algorithm="brute", weights=lambda distances: np.exp((1 - distances) / 0.07)
    )
    expected = peer.fit(bank.double().numpy(), labels.numpy()).predict_proba(queries.double().numpy())
    found = NearestNeighbors(bank, labels, NUM_CLASSES, num_neighbors=9)(queries)
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-5)


def test_only_directions_count(samples):
    bank, labels, queries = samples
    expected = NearestNeighbors(bank, labels, NUM_CLASSES, num_neighbors=5)(queries)
    scaled = NearestNeighbors(bank * torch.rand(60, 1).add(0.1), labels, NUM_CLASSES, num_neighbors=5)(queries * 30)
    torch.testing.assert_close(scaled, expected)


def test_chunks_change_nothing(samples, monkeypatch):
    bank, labels, queries = samples
    probe = NearestNeighbors(bank, labels, NUM_CLASSES, num_neighbors=5)
    whole = probe(queries)
    sizes = []
    vote = NearestNeighbors._vote
    monkeypatch.setattr(NearestNeighbors, "_vote", lambda self, chunk: sizes.append(len(chunk)) or vote(self, chunk))
    monkeypatch.setattr(nearest_neighbors, "MAX_SIMILARITIES", 60 * 10)
    torch.testing.assert_close(probe(queries), whole)
    assert sizes == [10, 10, 5]


def test_a_small_bank_votes_whole_and_low_temperatures_stay_finite(samples):
    bank, labels, queries = samples
    whole = NearestNeighbors(bank, labels, NUM_CLASSES, num_neighbors=200)(queries)
    torch.testing.assert_close(whole, NearestNeighbors(bank, labels, NUM_CLASSES, num_neighbors=60)(queries))
    cold = NearestNeighbors(bank, labels, NUM_CLASSES, temperature=1e-4)(queries)  # exp(1e4) alone is infinite
    torch.testing.assert_close(cold.sum(dim=1), torch.ones(25))
    nearest = NearestNeighbors(bank, labels, NUM_CLASSES, num_neighbors=1)(queries)
    assert torch.equal(cold.argmax(1), nearest.argmax(1))


def test_bfloat16_features_are_compared_in_float32(samples):
    bank, labels, queries = samples
    probe = NearestNeighbors(bank.bfloat16(), labels, NUM_CLASSES)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = probe(queries.bfloat16())
    expected = NearestNeighbors(bank.bfloat16().float(), labels, NUM_CLASSES)(queries.bfloat16().float())
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_neighbors": 0}, "knn_neighbors: got 0, expected 1 or more"),
        ({"temperature": 0.0}, "knn_temperature: got 0.0, expected a temperature above 0"),
    ],
)
def test_numbers_out_of_range_are_refused(samples, options, message):
    bank, labels, _ = samples
    with pytest.raises(ValueError, match=message):
        NearestNeighbors(bank, labels, NUM_CLASSES, **options)


def test_features_of_a_diverged_network_are_refused(samples):
    bank, labels, queries = samples
    probe = NearestNeighbors(bank, labels, NUM_CLASSES)
    queries[3, 2] = torch.nan
    with pytest.raises(ValueError, match="not a number"):
        probe(queries)
    with pytest.raises(ValueError, match="not a number"):
        NearestNeighbors(bank / 0, labels, NUM_CLASSES)


class Half(nn.Module):
    """A network whose features are the images' first half, with dropout that evaluation must turn off."""

    def __init__(self):
        super().__init__()
        self.dropout = nn.Dropout(0.5)
        self.body = nn.Linear(1, 1)

    def features(self, images):
        return self.dropout(images.flatten(1)[:, :8])


class Vectors(LightningDataModule):
    def __init__(self, bank, labels, queries, truth):
        super().__init__()
        self.bank, self.queries = (bank, labels), (queries, truth)

    def predict_dataloader(self):
        images, targets = self.bank
        order = torch.randperm(len(images))
        return batches(images[order], targets[order], order)

    def val_dataloader(self):
        return batches(*self.queries, torch.arange(len(self.queries[1])))

    test_dataloader = val_dataloader


def batches(images, targets, ids):
    images = torch.cat([images, torch.ones_like(images)], dim=1)[:, None, None]
    return DataLoader(list(zip(images, targets, ids, strict=True)), batch_size=7)


def test_the_probe_logs_the_accuracy_of_the_votes(samples, make_trainer):
    bank, labels, queries = samples
    truth = torch.arange(25) % NUM_CLASSES
    truth[3] = -1  # unlabelled: not counted
    probe = NearestNeighborProbe(Half(), NUM_CLASSES, num_neighbors=5)
    trainer, data = make_trainer(), Vectors(bank, labels, queries, truth)
    probe.remember(trainer.predict(probe, data))
    torch.testing.assert_close(probe.neighbors.labels, labels)  # back in the order of the ids
    votes = torch.from_numpy(vote_in_numpy(bank, labels, queries, 5, 0.07)).argmax(1)
    expected = (votes == truth).sum() / 24
    for evaluate, name in ((trainer.validate, "val/knn_accuracy"), (trainer.test, "test/knn_accuracy")):
        (values,) = evaluate(probe, data, verbose=False)
        assert values == {name: pytest.approx(float(expected))}


def test_shares_of_several_processes_make_one_bank(samples, monkeypatch):
    bank, labels, queries = samples
    ids = torch.randperm(60)
    shares = [FeatureBatch(bank[part], labels[part], part) for part in ids.split(25)]
    monkeypatch.setattr(nearest_neighbors, "gather", lambda own: shares)
    probe = NearestNeighborProbe(Half(), NUM_CLASSES)
    probe.remember(shares[:1])
    torch.testing.assert_close(probe.neighbors(queries), NearestNeighbors(bank, labels, NUM_CLASSES)(queries))
