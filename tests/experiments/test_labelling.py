"""A segmentation network labels a pool, and a student learns from its pseudo-masks."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from datamodules.mask_views import MaskView, create_mask_policy
from datamodules.pseudo_labels import PseudoLabels
from datamodules.segmentation import SegmentationDataModule
from datamodules.sources import create_source
from experiments.labelling import audit_table, build_pseudo_labeled, label_pool
from experiments.pseudo_label_settings import PseudoLabelSettings
from experiments.settings import TrainerSettings
from lightning_modules.networks import create_network
from lightning_modules.noisy_student import NoisyStudentModule
from lightning_modules.sliding_window import predict_whole
from lightning_modules.teacher import state_digest
from tests.conftest import ROOT, clean_environment

SETTINGS = PseudoLabelSettings(labels="hard", precision="float32", flip=True)
TRAINER = TrainerSettings(accelerator="cpu", devices=1, enable_progress_bar=False)

PROGRAM = """
import sys
from dataclasses import replace
from pathlib import Path
from tests.experiments.test_labelling import SETTINGS, TRAINER, label_pool, scenes, teacher

label_pool(teacher(), scenes(), Path(sys.argv[1]), SETTINGS, replace(TRAINER, devices=2))
"""


def scenes(**options):
    source = create_source("digit_scenes", num_scenes=30, side=32)
    view = MaskView(create_mask_policy("weak"), seed=2)
    return SegmentationDataModule(
        source, num_labeled=8, num_validation=4, batch_size=4, eval_batch_size=5, view=view, **options
    )


def teacher():
    """Return a network that has not learned but is confident here and there, of several classes."""
    torch.manual_seed(0)
    network = create_network("unet", num_classes=11, width=2, depth=1).eval()
    classifier = network.body.get_classifier()
    torch.nn.init.zeros_(classifier.bias)
    classifier.weight.data.mul_(30)
    return network


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("labels") / "round_1.parquet"
    label_pool(teacher(), scenes(), path, SETTINGS, TRAINER)
    return path


def files_of(table: Path) -> dict[str, bytes]:
    masks = PseudoLabels.read(table).masks
    assert set(table.parent.iterdir()) == {table, masks}
    return {file.name: file.read_bytes() for file in (table, *masks.iterdir())}


def test_masks_are_what_the_network_says(path):
    labeled, network, table = scenes(), teacher(), PseudoLabels.read(path)
    assert table.metadata.teacher == state_digest(network)
    assert table.metadata.view == "flip"
    pool = labeled.pool.select(labeled.pool.ids.argsort())
    probabilities = predict_whole(network, pool.images(torch.arange(18)).float() / 255, flip=True)
    torch.testing.assert_close(table.probabilities, probabilities.mean(dim=(2, 3)))
    samples = build_pseudo_labeled(labeled, path, SETTINGS).pseudo_labeled
    written = samples.read_targets(torch.arange(18))
    assert (written == probabilities.argmax(dim=1)).double().mean() > 0.999  # batch norms are folded: 1e-5
    assert written.unique().numel() > 1


def test_a_student_learns_from_them(path):
    labeled = scenes()
    settings = PseudoLabelSettings(labels="hard", confidence_threshold=0.9, balance=True, ratio=2)
    numbers = audit_table(PseudoLabels.read(path), labeled, settings)
    assert 0 < numbers["selected_share"] < 1
    assert 0 <= numbers["mean_iou"] < 0.5
    data = build_pseudo_labeled(labeled, path, settings, teacher_digest=state_digest(teacher()))
    batch = data.on_after_batch_transfer(next(iter(data.train_dataloader()))[0], 0)
    targets = batch["pseudo_labeled"].targets
    assert targets.shape == (8, 32, 32)
    assert (targets == 255).any()
    assert (targets != 255).any()
    module = NoisyStudentModule(create_network("unet", num_classes=11, width=2, depth=1), 11)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    losses = []
    for _ in range(8):
        logits = module(torch.cat([batch[name].images for name in ("labeled", "pseudo_labeled")]))
        loss = module.loss(logits, batch["labeled"].targets, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (PseudoLabelSettings(), "labels: got 'soft', expected 'hard'"),
        (
            PseudoLabelSettings(labels="hard", max_per_class=5),
            "max_per_class: got 5, expected none for images with masks",
        ),
        (PseudoLabelSettings(labels="hard", align=True), "align: got true, expected false for images with masks"),
    ],
)
def test_settings_that_do_not_suit_masks_are_refused_before_labelling(tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        label_pool(teacher(), scenes(), tmp_path / "table.parquet", settings, TRAINER)
    assert not list(tmp_path.iterdir())


def test_a_classifier_cannot_label_pixels(tmp_path):
    network = create_network("cnn_tiny", num_classes=11, num_channels=3)
    with pytest.raises(ValueError, match=r"predictions are \(5, 11\), expected probabilities of every pixel"):
        label_pool(network, scenes(), tmp_path / "table.parquet", SETTINGS, TRAINER)


@pytest.mark.slow
def test_two_processes_give_the_files_of_one(path, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    table = tmp_path / "labels" / "round_1.parquet"
    table.parent.mkdir()
    environment = clean_environment() | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, program, table], env=environment, check=True, timeout=200, cwd=ROOT)
    assert files_of(table) == files_of(path)
