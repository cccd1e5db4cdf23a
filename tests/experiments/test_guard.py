"""Who may teach next."""

import torch

from datamodules.sources import create_source
from experiments.guard import describe_verdict, is_accepted, judge


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
    return judge(*networks, validation, torch.device("cpu"), guard, is_unseen=is_unseen)


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
