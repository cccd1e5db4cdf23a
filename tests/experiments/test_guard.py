"""Who may teach next."""

import pytest
import torch

from datamodules.sources import create_source
from datamodules.sources.source import MaskArray, PixelArray, Samples
from experiments.guard import describe_verdict, is_accepted, judge
from experiments.predictions import pixel_confusions
from lightning_modules.segmentation_metrics import PixelConfusion, SegmentationMetrics


class Constant(torch.nn.Module):
    """Says one class of every image."""

    def __init__(self, label: int) -> None:
        super().__init__()
        self.label = label

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.eye(10)[self.label].expand(len(images), 10)


def verdict(student: int, teacher: int, guard: float | None = None, *, is_unseen: bool = True) -> dict:
    samples = create_source("digits").test
    zeros = (samples.targets == 0).nonzero().squeeze(1)
    validation = samples.select(torch.cat((zeros[:10], (samples.targets == 1).nonzero().squeeze(1)[:30])))
    networks = Constant(student), Constant(teacher)
    return judge(*networks, validation, torch.device("cpu"), guard, batch_size=32, is_unseen=is_unseen)


def test_chance_is_taken_for_chance_and_points_for_points():
    within = {"difference": -0.02, "low": -0.05, "high": 0.01}
    beyond = {"difference": -0.02, "low": -0.03, "high": -0.01}
    assert is_accepted(within, None)
    assert not is_accepted(beyond, None)
    assert is_accepted(beyond, 0.02)
    assert not is_accepted(within, 0.01)


def test_a_student_is_compared_with_its_teacher_on_validation():
    better, worse = verdict(student=1, teacher=0), verdict(student=0, teacher=1)
    assert better["difference"] == 0.5  # 30 of 40 against 10 of 40
    assert better["accepted"]
    assert worse["difference"] == -0.5
    assert not worse["accepted"]
    assert verdict(student=0, teacher=1, guard=0.5)["accepted"]
    said = describe_verdict("round_1", worse, "round_0")
    assert "-50.00 points" in said
    assert said.endswith("round_1 is rejected, round_0 stays")


def test_samples_that_the_teacher_may_have_seen_decide_nothing():
    unjudged = verdict(student=0, teacher=1, is_unseen=False)
    assert unjudged == {"accepted": True}
    assert "accepted unjudged" in describe_verdict("round_1", unjudged, "round_0")


class BrightIsOne(torch.nn.Module):
    """Says class 1 where an image is brighter than a threshold, else class 0."""

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        bright = (images[:, :1] > self.threshold).float()
        return torch.cat((1 - bright, bright), dim=1)


def test_networks_that_segment_are_compared_by_mean_iou():
    pixels = torch.randint(0, 256, (40, 1, 6, 5), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    masks = (pixels[:, 0] > 127).to(torch.uint8)
    masks[:, 0] = 255
    rows = torch.arange(40)
    samples = Samples(PixelArray(pixels), rows, rows, torch.zeros_like(rows), masks=MaskArray(masks))
    right, wrong = BrightIsOne(127.5 / 255), BrightIsOne(160 / 255)
    confusions = pixel_confusions(right, samples, torch.device("cpu"))
    assert confusions.sum() == 40 * 5 * 5  # 255 does not count
    assert confusions[:, [0, 1], [1, 0]].sum() == 0
    found = judge(wrong, right, samples, torch.device("cpu"), None, batch_size=16, is_unseen=True)
    whole = SegmentationMetrics(2)
    whole.update(wrong(pixels / 255), masks)
    assert found["difference"] == pytest.approx(float(whole.compute()["mean_iou"]) - 1)
    assert not found["accepted"]


def test_every_process_counts_all_images_and_no_others(monkeypatch):
    """The counts of other processes are not added: each has all images itself."""
    monkeypatch.setattr(PixelConfusion, "_sync_dist", lambda *_, **__: pytest.fail("counts were gathered"))
    monkeypatch.setattr("torchmetrics.metric.jit_distributed_available", lambda: True)
    rows = torch.arange(3)
    samples = Samples(
        PixelArray(torch.zeros(3, 1, 4, 4, dtype=torch.uint8)),
        rows,
        rows,
        torch.zeros_like(rows),
        masks=MaskArray(torch.zeros(3, 4, 4, dtype=torch.uint8)),
    )
    confusions = pixel_confusions(BrightIsOne(0.5), samples, torch.device("cpu"), batch_size=2)
    assert confusions.flatten(1).sum(dim=1).tolist() == [16, 16, 16]
