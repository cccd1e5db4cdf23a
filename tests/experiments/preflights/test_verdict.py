"""What a preflight concludes: every rule, from made-up figures; what a network is found to say."""

import dataclasses

import pytest
import torch

from datamodules.sources.source import MaskArray, Source
from experiments.commands import DistillCommand
from experiments.network_settings import NetworkSettings, TeacherSettings
from experiments.preflights.assessment import affordable, assess, some_of
from experiments.preflights.forecast import mean_and_range
from experiments.preflights.report import as_markdown, print_page
from experiments.preflights.runs import shortened
from experiments.preflights.verdict import conclude
from experiments.settings import TrainerSettings
from experiments.tasks import Task
from lightning_modules.settings import OptimizerSettings, TransferSettings
from tests.conftest import make_source

CPU = torch.device("cpu")


def network(accuracy: float, **changes: float) -> dict:
    figures = {"calibration_error": 0.02, "confidence": accuracy, "loss": 0.3, "agreement": None}
    return {"accuracy": accuracy, "parameters": 1_000, "latency_ms": 0.5} | figures | changes


def comparison(low: float, high: float) -> dict:
    return {"difference": (low + high) / 2, "low": low, "high": high}


def facts(gain=(0.02, 0.06), lead=(0.1, 0.2), images: int = 400, batches: int = 100, **changes) -> dict:
    found = {
        "name": "made up",
        "source": "digits",
        "seed": 0,
        "device": "cpu",
        "seconds": 12.0,
        "budget": 100.0,
        "measure": "accuracy",
        "validation": {"images": images, "of": 400, "seen": "no"},
        "training_images": 50,
        "pool": 1_000,
        "chance": 0.1,
        "capacity_ratio": 8.0,
        "distillation": {"temperature": 4.0, "labels": "soft"},
        "short_run": {"batches": batches, "of": 720, "reason": None},
        "networks": {
            "teacher": network(0.95),
            "teacher_on_training": network(0.99),
            "student_alone": network(0.8),
            "student_distilled": network(0.84),
        },
        "gain": comparison(*gain),
        "lead": comparison(*lead),
        "classes": [{"name": "[red]", "count": 5, "teacher": 0.9, "student_alone": 0.5, "headroom": 0.4}],
        "forecast": None,
    }
    return found | changes


@pytest.mark.parametrize(
    ("found", "answer", "reason"),
    [
        (facts(), "yes", "100 batches each (of the 720 that distill takes) the student gained +4.0 points"),
        (facts(batches=720), "yes", "as many as distill takes"),
        (facts(lead=(-0.2, -0.1)), "yes", "expect a gain"),
        (facts(gain=(-0.01, 0.03), lead=(-0.2, 0.0)), "no", "nothing to teach: the teacher has 95.00 % accuracy"),
        (facts(gain=(-0.05, -0.01)), "no", "distillation lost: -3.0 points (95 % interval -5.0 to -1.0)"),
        (facts(gain=(-0.01, 0.03)), "cannot tell", "400 validation images and 100 batches"),
        (facts(gain=(0.0, 0.03)), "cannot tell", "which holds 0"),
        (facts(gain=(-0.01, 0.03), lead=(-0.2, 0.1)), "cannot tell", "not seen to be better than the student"),
        (facts(images=99), "cannot tell", "the time was enough for 99 of 400: more --seconds"),
        (facts(images=100), "yes", "expect a gain"),
        (facts(gain=(0.0, 0.0), lead=(0.0, 0.0)), "no", "nothing to teach"),
    ],
)
def test_the_first_rule_that_holds_decides(found, answer, reason):
    verdict = conclude(found)
    assert verdict["answer"] == answer
    assert reason in verdict["sentence"]


def test_an_open_question_says_what_would_close_it():
    sentence = conclude(facts(gain=(-0.01, 0.03)))["sentence"]
    assert "about 1,600 images" in sentence  # half the interval is twice the difference: four times the images
    assert "--data.num_validation" in sentence
    assert "--seconds above 100" in sentence
    assert "--seconds" not in conclude(facts(gain=(-0.01, 0.03), batches=720))["sentence"]


def test_a_teacher_at_chance_is_said_without_any_run():
    found = facts(gain=(0.02, 0.06))
    found["networks"]["teacher"] = network(0.1299)  # two standard errors of 0.1 over 400 images are 0.03
    assert conclude(found)["answer"] == "no"
    assert "at chance" in conclude(found)["sentence"]
    found["networks"]["teacher"] = network(0.1301)
    assert conclude(found)["answer"] == "yes"


def test_without_a_run_the_reason_is_given():
    found = facts(short_run={"batches": 0, "of": 720, "reason": "no time"}) | {"gain": None, "lead": None}
    verdict = conclude(found)
    assert (verdict["answer"], verdict["notes"]) == ("cannot tell", [])
    assert "no time" in verdict["sentence"]
    found["networks"]["teacher"] = network(0.1)
    found["verdict"] = conclude(found)
    assert "nothing to teach" in found["verdict"]["sentence"]
    assert "No short run: no time" in as_markdown(found)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"teacher": network(0.9, calibration_error=0.11, confidence=0.99)}, ["overconfident", "temperatures above 4"]),
        ({"teacher": network(0.9, calibration_error=0.11, confidence=0.7)}, ["less sure", "temperatures below 4"]),
        ({"teacher_on_training": network(1.0), "teacher": network(0.85)}, ["15.0 points better"]),
        ({"student_alone": network(0.1), "student_distilled": network(0.12)}, ["still at chance"]),
    ],
)
def test_what_is_odd_of_a_network_is_noted(changes, words):
    found = facts()
    before = conclude(found)["notes"]
    found["networks"] |= changes
    (note,) = [note for note in conclude(found)["notes"] if note not in before]
    assert all(word in note for word in words)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pool": 0}, "no unlabelled images"),
        ({"capacity_ratio": 0.5}, "no smaller than its teacher (0.50"),
        ({"validation": {"images": 400, "of": 400, "seen": "maybe"}}, "another split"),
        ({"validation": {"images": 400, "of": 400, "seen": "unknown"}}, "does not say"),
    ],
)
def test_what_is_odd_of_the_setting_is_noted(changes, words):
    assert not any(words in note for note in conclude(facts())["notes"])
    assert any(words in note for note in conclude(facts(**changes))["notes"])


def test_hard_labels_get_no_hint_on_temperature():
    found = facts(distillation={"temperature": 4.0, "labels": "hard"})
    found["networks"]["teacher"] = network(0.8, calibration_error=0.2, confidence=0.9)
    assert not any("temperatures" in note for note in conclude(found)["notes"])


def test_the_page_prints_names_as_they_are(capsys):
    found = facts()
    found["verdict"] = conclude(found)
    print_page(found)
    printed = capsys.readouterr().out
    assert "[red]" in printed
    assert "Yes: expect a gain" in printed
    assert as_markdown(found).startswith("# Preflight of made up: digits, seed 0, cpu, 12 s\n\nYes: expect")


class Brightest(torch.nn.Module):
    """Names the third of the image that is brightest, three times as sure as of each other."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        means = torch.stack([images[:, :, rows].mean(dim=(1, 2, 3)) for rows in ([0, 1], [3, 4], [6, 7])], dim=1)
        logits = torch.zeros(len(images), 3).scatter(1, means.argmax(dim=1, keepdim=True), 3.0)
        return logits.log().clamp(min=0)


def test_a_network_is_assessed_as_its_figures_say():
    source = make_source()
    right = assess(Brightest(), source.train, Task(source), CPU, 7)
    assert right.metrics["accuracy"] == 1
    assert right.metrics["confidence"] == pytest.approx(3 / 5)
    assert right.metrics["calibration_error"] == pytest.approx(2 / 5)
    assert right.metrics["loss"] == pytest.approx(-torch.tensor(3 / 5).log().item())
    assert right.confusion.tolist() == [[20, 0, 0], [0, 20, 0], [0, 0, 20]]
    always = assess(AlwaysFirst(), source.train, Task(source), CPU, 64)
    assert always.class_scores.tolist() == [1, 0, 0]
    assert always.agreement(right) == pytest.approx(1 / 3)
    assert right.agreement(right) == 1


class AlwaysFirst(torch.nn.Module):
    """Says the first of three classes of every image, or of every pixel."""

    def __init__(self, *, is_dense: bool = False) -> None:
        super().__init__()
        self.is_dense = is_dense

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits = torch.tensor([3.0, 0.0, 0.0]).expand(len(images), 3)
        return logits[:, :, None, None].expand(-1, -1, *images.shape[2:]) if self.is_dense else logits


def with_masks(source: Source) -> Source:
    """Return the source with masks: the upper half of each image is 0, the next quarter 1, the last 255."""
    masks = torch.zeros(len(source.train) + len(source.test), 8, 8, dtype=torch.uint8)
    masks[:, 4:6], masks[:, 6:] = 1, 255
    samples = [dataclasses.replace(each, masks=MaskArray(masks)) for each in (source.train, source.test)]
    return dataclasses.replace(source, train=samples[0], test=samples[1])


def test_masks_are_assessed_by_pixel():
    source = with_masks(make_source())
    found = assess(AlwaysFirst(is_dense=True), source.train, Task(source), CPU, 16)
    share = 32 / 48
    assert found.metrics["mean_iou"] == pytest.approx(share / 2)
    assert found.metrics["accuracy"] == pytest.approx(share)
    sure = torch.tensor([3.0, 0, 0]).softmax(0)[0].item()
    assert found.metrics["confidence"] == pytest.approx(sure)
    assert found.metrics["calibration_error"] == pytest.approx(sure - share, abs=1e-4)
    assert found.class_scores[:2].tolist() == pytest.approx([share, 0])


def test_so_many_images_are_looked_at_as_time_allows():
    source = make_source()
    options = AlwaysFirst(), source.train, Task(source), CPU, 64
    assert affordable(*options, 1e6) == 60
    assert affordable(*options, 0.0) == 1
    chosen = some_of(source.train, 15, seed=0)
    assert chosen.targets.bincount().tolist() == [5, 5, 5]
    assert some_of(source.train, 60, seed=0) is source.train


def test_times_have_a_mean_and_the_ends_of_their_tenths():
    assert mean_and_range([2.0]) == [2, 2, 2]
    assert mean_and_range([1.0] * 10 + [3.0] * 10) == [2, 1, 3]
    assert mean_and_range([1.0, 3.0] * 10) == [2, 2, 2]


@pytest.mark.parametrize(
    ("mode", "accumulate", "epochs", "each", "warmup"),
    [("full", 1, 1, 90, 10), ("gradual", 1, 20, 4, 8), ("full", 4, 1, 90, 2), ("gradual", 30, 3, 30, 0)],
)
def test_a_short_run_is_the_whole_one_compressed(mode, accumulate, epochs, each, warmup):
    command = DistillCommand(
        teacher=TeacherSettings(checkpoint="t.ckpt"),
        student=NetworkSettings(transfer=TransferSettings(mode=mode)),
        optimizer=OptimizerSettings(warmup_steps=40 // accumulate + 1 if accumulate > 1 else 40),
        trainer=TrainerSettings(max_epochs=20, accumulate_grad_batches=accumulate),
    )
    short = shortened(command, batches_per_epoch=18, num_batches=90)
    assert (short.trainer.max_epochs, short.data.steps_per_epoch) == (epochs, each)
    assert short.optimizer.warmup_steps == warmup
    assert short.distillation == command.distillation
