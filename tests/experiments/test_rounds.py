"""Settings of self-training's rounds: what they default to, how they come about, which mistakes are named."""

import dataclasses
import subprocess
import sys

import pytest

from experiments.network_settings import NetworkSettings
from experiments.pseudo_label_settings import PseudoLabelSettings
from experiments.rounds import RoundSettings, next_larger, resolve_rounds
from experiments.settings import AugmentationSettings
from lightning_modules.settings import PseudoLabelLossSettings
from tests.conftest import ROOT

BASE = RoundSettings()
FAMILY = {"cnn_tiny": 2_000, "cnn_small": 18_000, "cnn_medium": 70_000, "cnn_large": 400_000}
FAMILIES = dict.fromkeys(FAMILY, FAMILY)


def grow(name, max_parameters):
    return next_larger(name, max_parameters, FAMILIES)


def resolve(base=BASE, num_rounds=3, **options):
    return resolve_rounds(base, num_rounds, **options, grow=grow)


def networks(rounds):
    return [settings.student.name for settings in rounds]


def student(network="cnn_small", **options):
    return RoundSettings(student=NetworkSettings(network=network, **options))


def test_a_round_is_that_of_noisy_student():
    assert (BASE.student.name, BASE.student.drop_rate) == ("cnn_large", 0.2)
    assert (BASE.noise.policy, BASE.labeled_noise.policy) == ("strong", "weak")
    assert (BASE.pseudo_labels.labels, BASE.pseudo_labels.ratio, BASE.initialize) == ("soft", 1.0, "fresh")
    assert isinstance(BASE.pseudo_labels, PseudoLabelLossSettings)


def test_without_changes_all_rounds_are_alike():
    base = RoundSettings(
        student=NetworkSettings(network="cnn_tiny", options={"width_multiplier": 0.5}),
        pseudo_labels=PseudoLabelSettings(confidence_threshold=[0.5, 0.7], max_per_class=9),
        ema_decay=0.99,
        max_epochs=7,
    )
    assert resolve(base) == [base] * 3
    assert resolve(base, overrides=[{}, {}]) == [base] * 3


def test_students_are_named_round_by_round_and_the_last_stays():
    base = student("cnn_tiny", drop_rate=0.3)
    rounds = resolve(base, 4, students=["cnn_small", "cnn_medium"])
    assert networks(rounds) == ["cnn_small", "cnn_medium", "cnn_medium", "cnn_medium"]
    assert all(settings.student.drop_rate == 0.3 for settings in rounds)


def test_growth_takes_the_next_larger_network_within_the_limit():
    assert networks(resolve(student("cnn_tiny"), 4, growth=70_000)) == [
        "cnn_tiny",
        "cnn_small",
        "cnn_medium",
        "cnn_medium",
    ]
    assert networks(resolve(student("cnn_tiny"), 3, growth=17_999)) == ["cnn_tiny"] * 3
    assert networks(resolve(student(None), 2, growth=100_000)) == ["cnn_small", "cnn_medium"]


def test_next_larger_goes_by_parameters_not_by_order():
    family = {"c": 30, "a": 10, "twin": 10, "b": 20}
    families = dict.fromkeys(family, family) | {"other": {"other": 5}}
    assert next_larger("a", 100, families) == "b"
    assert next_larger("a", 19, families) == "a"  # nor its twin, which is no larger
    assert next_larger("c", 100, families) == "c"
    assert next_larger("other", 100, families) == "other"


def test_overrides_change_one_round_and_only_what_they_name():
    base = RoundSettings(pseudo_labels=PseudoLabelSettings(confidence_threshold=0.5, ratio=3.0), max_epochs=4)
    changes = [
        {},
        {"pseudo_labels": {"confidence_threshold": 0.9, "labels": "hard"}, "max_epochs": None},
        {"pseudo_labels": {"confidence_threshold": [0.1, 0.2]}, "noise": {"magnitude": 5}, "ema_decay": 0.9},
    ]
    rounds = resolve(base, 4, overrides=changes)
    assert rounds[0] == rounds[3] == base
    assert rounds[1] == dataclasses.replace(
        base,
        max_epochs=None,
        pseudo_labels=PseudoLabelSettings(confidence_threshold=0.9, labels="hard", ratio=3.0),
    )
    assert rounds[2] == dataclasses.replace(
        base,
        ema_decay=0.9,
        noise=AugmentationSettings(policy="strong", magnitude=5),
        pseudo_labels=PseudoLabelSettings(confidence_threshold=[0.1, 0.2], ratio=3.0),
    )


def test_overrides_may_name_networks_and_change_other_things_beside_students():
    assert networks(resolve(overrides=[{}, {"student": {"network": "cnn_tiny"}}])) == [
        "cnn_large",
        "cnn_tiny",
        "cnn_large",
    ]
    rounds = resolve(student(), 2, students=["cnn_tiny"], overrides=[{"student": {"drop_rate": 0.5}}])
    assert [(one.student.network, one.student.drop_rate) for one in rounds] == [("cnn_tiny", 0.5), ("cnn_tiny", None)]


def test_a_student_may_start_from_the_previous_of_the_same_network():
    rounds = resolve(overrides=[{}, {"initialize": "previous"}])
    assert [settings.initialize for settings in rounds] == ["fresh", "previous", "fresh"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"confidence_threshold": 1.5}, r"pseudo_labels.confidence_threshold: got 1.5, expected a probability"),
        ({"confidence_threshold": [0.5, -0.1]}, r"pseudo_labels.confidence_threshold: got \[0.5, -0.1\]"),
        ({"confidence_threshold": []}, r"pseudo_labels.confidence_threshold: got \[\]"),
        ({"confidence_threshold": float("nan")}, "pseudo_labels.confidence_threshold: got nan"),
        ({"max_per_class": 0}, "pseudo_labels.max_per_class: got 0, expected 1 or more, or null"),
        ({"ratio": 0.0}, "pseudo_labels.ratio: got 0.0, expected a number above 0"),
        (
            {"labels": "hard", "temperature": 4.0},
            "pseudo_labels.temperature: got 4.0, expected 1 together with labels=hard",
        ),
        ({"ratio": float("inf")}, "pseudo_labels.ratio: got inf"),
        ({"temperature": 0.0}, "pseudo_labels.temperature: got 0.0"),
        ({"weight": -1.0}, "pseudo_labels.weight: got -1.0"),
        ({"ramp_up": 2.0}, "pseudo_labels.ramp_up: got 2.0"),
    ],
)
def test_pseudo_labels_out_of_range(settings, message):
    with pytest.raises(ValueError, match=message):
        PseudoLabelSettings(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_epochs": 0}, "max_epochs: got 0, expected 1 or more, or null"),
        ({"steps_per_epoch": 0}, "steps_per_epoch: got 0, expected 1 or more, or null"),
        ({"ema_decay": 1.0}, r"ema_decay: got 1.0, expected a decay in \(0, 1\)"),
        ({"ema_decay": 0.0}, "ema_decay: got 0.0"),
        (
            {"initialize": "previous", "student": NetworkSettings(checkpoint="x.ckpt")},
            "initialize: got 'previous', expected fresh together with student.checkpoint",
        ),
        (
            {"initialize": "previous", "student": NetworkSettings(network="vit", pretrained=True)},
            "initialize: got 'previous', expected fresh together with student.pretrained",
        ),
    ],
)
def test_rounds_out_of_range(settings, message):
    with pytest.raises(ValueError, match=message):
        RoundSettings(**settings)


@pytest.mark.parametrize(
    ("base", "options", "message"),
    [
        (BASE, {"num_rounds": 0}, "num_rounds: got 0, expected 1 or more"),
        (BASE, {"overrides": [{}] * 4}, "rounds: got .* expected at most one mapping for each of 3 rounds"),
        (BASE, {"students": []}, r"students: got \[\], expected 1 to 3 names"),
        (BASE, {"students": list("abcd")}, "students: got .* expected 1 to 3 names, one a round of num_rounds"),
        (BASE, {"students": ["a"], "growth": 9}, "growth: got 9, expected null together with students"),
        (BASE, {"growth": 0}, "growth: got 0, expected a number of parameters"),
        (BASE, {"growth": 9}, "growth: got 9, expected at least the 400000 parameters of cnn_large"),
        (
            student("vit"),
            {"growth": 9},
            "growth: got 9, expected null: vit is of no family whose sizes are known; students names",
        ),
        (student(checkpoint="x.ckpt"), {"growth": 9}, "round.student.checkpoint: got 'x.ckpt', expected null"),
        (student(checkpoint="x.ckpt"), {"students": ["a"]}, "round.student.checkpoint: got 'x.ckpt', expected null"),
        (
            dataclasses.replace(student(), initialize="previous"),
            {"students": ["a", "a", "b"]},
            "rounds, round 3: initialize: got 'previous', expected fresh: .* of the round before, of a, do not fit b",
        ),
    ],
)
def test_contradictions_are_named(base, options, message):
    with pytest.raises(ValueError, match=message):
        resolve(base, **options)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pseudo_labels": {"confidence": 0.9}}, "pseudo_labels.confidence: got 0.9, .*mean confidence_threshold"),
        ({"ema": 0.9}, "ema: got 0.9, expected an option of a round; did you mean ema_decay"),
        ({"student": {"network": "x", "colour": 1}}, "student.colour: got 1, expected an option"),
        ({"pseudo_labels.ratio": 2}, "pseudo_labels.ratio: got 2, expected an option of a round"),
        ({3: 4}, "3: got 4, expected an option of a round"),
        ({"pseudo_labels": 0.9}, "pseudo_labels: got 0.9, expected a mapping"),
        ({"pseudo_labels": None}, "pseudo_labels: got None, expected a mapping"),
        ({"student": "cnn_small"}, "student: got 'cnn_small', expected a mapping"),
        ([1], r"options: got \[1\], expected a mapping"),
        ({"pseudo_labels": {"confidence_threshold": "high"}}, "pseudo_labels.confidence_threshold.*high"),
        ({"pseudo_labels": {"labels": "medium"}}, "pseudo_labels.labels.*medium"),
        ({"max_epochs": 2.5}, "max_epochs.*2.5"),
        ({"student": {"options": {"blocks": [1]}}}, "student.options.*[1]"),
        ({"pseudo_labels": {"ratio": -1}}, "pseudo_labels.ratio: got -1.0, expected a number above 0"),
        ({"optimizer": {"lr": 0}}, "optimizer.lr: got 0"),
    ],
)
def test_mistakes_in_overrides_name_the_round(change, message):
    with pytest.raises(ValueError, match=f"^rounds, round 2: .*{message}") as raised:
        resolve(overrides=[{}, change])
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("options", [{"students": ["cnn_tiny"]}, {"growth": 400_000}])
def test_networks_are_said_in_one_place(options):
    message = "rounds, round 1: student.network: got 'cnn_small', expected nothing: students or growth"
    with pytest.raises(ValueError, match=message):
        resolve(overrides=[{"student": {"network": "cnn_small"}}], **options)


def test_no_torch_is_imported():
    program = "import sys, experiments.rounds; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0
