"""Distribution alignment: classes as frequent among pseudo-labels as among labelled images."""

from dataclasses import replace

import pytest
import torch

from datamodules import alignment
from datamodules.alignment import align, align_table
from datamodules.labeled import LabeledDataModule
from datamodules.pseudo_labeled import PseudoLabeledDataModule
from datamodules.pseudo_labels import PseudoLabels, TableMetadata
from experiments.labelling import audit_table, build_pseudo_labeled, label_pool
from experiments.pseudo_label_settings import PseudoLabelSettings, SelectionSettings
from experiments.settings import TrainerSettings

NAMES = ("stripe 0", "stripe 1", "stripe 2")


@pytest.fixture
def labeled(source):
    return LabeledDataModule(source, labels_per_class=4, batch_size=6, num_validation=9)


def biased(num_samples, num_classes=3, towards=0, seed=0):
    """Return probabilities ``(N, K)`` float32 that favour one class."""
    logits = 2 * torch.randn(num_samples, num_classes, generator=torch.Generator().manual_seed(seed))
    logits[:, towards] += 2
    return logits.softmax(dim=1)


def table_of(labeled, probabilities):
    return PseudoLabels(labeled.pool.ids.sort().values, probabilities, TableMetadata("ab" * 32, "stripes", NAMES))


def test_the_means_become_the_shares_and_rows_stay_distributions():
    probabilities, shares = biased(1000), torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    assert float(probabilities.mean(dim=0)[0]) > 0.5
    aligned = align(probabilities, shares)
    assert aligned.dtype == torch.float32
    torch.testing.assert_close(aligned.double().mean(dim=0), shares, rtol=2e-3, atol=0)
    torch.testing.assert_close(aligned.sum(dim=1), torch.ones(1000))


def test_each_class_has_one_weight():
    """Odds between two classes change by the same factor for every sample."""
    probabilities = biased(200)
    aligned = align(probabilities, torch.full((3,), 1 / 3, dtype=torch.float64))
    factors = (aligned[:, 1] / aligned[:, 0]) / (probabilities[:, 1] / probabilities[:, 0])
    torch.testing.assert_close(factors, factors[0].expand(200), rtol=1e-4, atol=0)
    assert float(factors[0]) > 2


def test_shares_that_agree_change_nothing():
    probabilities = biased(500)
    aligned = align(probabilities, probabilities.double().mean(dim=0))
    torch.testing.assert_close(aligned, probabilities, rtol=1e-6, atol=1e-7)


def test_rows_in_pieces_give_the_same(monkeypatch):
    probabilities, shares = biased(300), torch.full((3,), 1 / 3, dtype=torch.float64)
    whole = align(probabilities, shares)
    monkeypatch.setattr(alignment, "NUMBERS_AT_ONCE", 21)  # seven rows of three
    torch.testing.assert_close(align(probabilities, shares), whole, rtol=1e-6, atol=1e-8)


def test_certain_labels_stay_as_they_are():
    """Two classes of three, all certain: the shares are out of reach."""
    certain = torch.eye(3)[torch.tensor([0, 0, 0, 1])]
    assert torch.equal(align(certain, torch.full((3,), 1 / 3, dtype=torch.float64)), certain)


def test_an_empty_table_stays_empty():
    assert align(torch.zeros(0, 3), torch.full((3,), 1 / 3, dtype=torch.float64)).shape == (0, 3)


def test_the_shares_are_those_of_the_labelled_images(labeled):
    """Of the training images alone: validation and pool do not count."""
    labeled.train = labeled.train.select((labeled.train.targets != 2).nonzero().squeeze(1)[:6].sort().values)
    labeled.train = replace(labeled.train, targets=torch.tensor([0, 0, 0, 1, 1, 2]))
    table = table_of(labeled, biased(len(labeled.pool)))
    aligned = align_table(table, labeled)
    torch.testing.assert_close(aligned.probabilities.mean(dim=0), torch.tensor([3, 2, 1]) / 6, rtol=5e-3, atol=0)
    assert torch.equal(aligned.labels, aligned.probabilities.argmax(dim=1))
    assert aligned.metadata == table.metadata


def test_the_students_are_taught_the_aligned_labels(labeled):
    table = table_of(labeled, biased(len(labeled.pool)))
    plain = PseudoLabeledDataModule(labeled, table)
    data = PseudoLabeledDataModule(labeled, table, align=True)
    wanted = align_table(table, labeled)
    assert torch.equal(plain.pseudo_labeled.targets, table.probabilities)
    assert torch.equal(data.pseudo_labeled.targets, wanted.probabilities)
    assert not torch.equal(wanted.labels, table.labels)


def test_the_option_reaches_them_from_a_file(labeled, tmp_path):
    table = table_of(labeled, biased(len(labeled.pool)))
    table.write(tmp_path / "table.parquet")
    data = build_pseudo_labeled(labeled, tmp_path / "table.parquet", SelectionSettings(align=True))
    assert torch.equal(data.pseudo_labeled.targets, align_table(table, labeled).probabilities)


def test_threshold_and_audit_are_of_the_aligned_labels(labeled):
    table = table_of(labeled, biased(len(labeled.pool)))
    settings = SelectionSettings(align=True, confidence_threshold=0.6)
    wanted = align_table(table, labeled)
    numbers = audit_table(table, labeled, settings, previous=table)
    assert numbers["selected"] == int((wanted.confidences >= torch.tensor(0.6)).sum())
    assert numbers["selected"] != int((table.confidences >= torch.tensor(0.6)).sum())
    truth = labeled.pool.targets[labeled.pool.ids.argsort()]
    assert numbers["accuracy"] == pytest.approx(float((wanted.labels == truth).float().mean()))
    assert numbers["changed"] == 0


def test_a_class_without_labelled_images_is_refused(labeled):
    table = table_of(labeled, biased(len(labeled.pool)))
    labeled.train = labeled.train.select((labeled.train.targets != 1).nonzero().squeeze(1))
    with pytest.raises(ValueError, match="align: got true, expected labelled images of every class, but stripe 1"):
        PseudoLabeledDataModule(labeled, table, align=True)


def test_such_a_class_is_noticed_before_the_pool_is_labelled(labeled, tmp_path):
    labeled.train = labeled.train.select((labeled.train.targets != 1).nonzero().squeeze(1))
    with pytest.raises(ValueError, match="but stripe 1"):
        label_pool(
            torch.nn.Flatten(), labeled, tmp_path / "t.parquet", PseudoLabelSettings(align=True), TrainerSettings()
        )
    assert not list(tmp_path.iterdir())
