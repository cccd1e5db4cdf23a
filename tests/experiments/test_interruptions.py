"""The study of interruptions: it kills, goes on, compares, and says when something differs."""

import json
import re
from dataclasses import replace

import pytest

from experiments.command_line import carry_out
from experiments.network_settings import NetworkSettings, TeacherSettings
from experiments.rounds import RoundSettings
from experiments.settings import DataSettings, TrainerSettings
from experiments.studies import interruptions
from experiments.studies.__main__ import STUDIES
from experiments.studies.settings import InterruptionsStudy


@pytest.fixture
def study(tmp_path) -> InterruptionsStudy:
    return InterruptionsStudy(
        output=str(tmp_path),
        num_kills=2,
        data=DataSettings(labels_per_class=5, num_validation=50, steps_per_epoch=2),
        teacher=TeacherSettings(network="cnn_tiny"),
        num_rounds=1,
        round=RoundSettings(student=NetworkSettings(network="cnn_tiny"), steps_per_epoch=2),
        trainer=TrainerSettings(max_epochs=2, accelerator="cpu", enable_progress_bar=False),
        baselines=False,
    )


@pytest.mark.slow
def test_a_loop_killed_twice_ends_as_one_that_nobody_disturbed(study, tmp_path, capsys):
    assert carry_out("interruptions", study, debug=True, program=STUDIES) == 0
    said = capsys.readouterr().out
    assert re.search(r"^undisturbed: first stage after [\d.]+ s, end after [\d.]+ s$", said, re.M)
    kills = re.findall(r"^kill (\d): killed_\d after [\d.]+ s, (?:in|after|before) \w+", said, re.M)
    assert kills == ["1", "2"]
    assert re.search(r"^killed_1: ended after [012] kills, the same 3 digests$", said, re.M)
    directory = tmp_path / "interruptions"
    for name in ("undisturbed", "killed_1"):
        assert json.loads((directory / name / "results.json").read_text())["name"] == name


class Undisturbable:
    """Stands for loops whose killed ones end otherwise."""

    def __init__(self, study, directory):
        directory.mkdir()

    def run_undisturbed(self):
        return 5.0, 20.0

    def run_killed(self, name, moments):
        moments.clear()
        return 2


def test_other_tables_or_weights_fail_the_study(study, monkeypatch, capsys):
    digests = iter([{"table of round_1": "a", "weights of round_1": "b"}, {"table of round_1": "a"}])
    monkeypatch.setattr(interruptions, "Loops", Undisturbable)
    monkeypatch.setattr(interruptions, "fingerprints", lambda _: next(digests))
    assert carry_out("interruptions", study, debug=False, program=STUDIES) == 1
    said = capsys.readouterr()
    assert "killed_1: ended after 2 kills, differs: weights of round_1" in said.out
    assert "killed_1 ended otherwise than undisturbed" in said.err


def test_moments_come_from_the_seed_and_lie_within_the_work(study):
    moments = interruptions.draw_moments(replace(study, num_kills=1000), 5.0, 20.0)
    assert min(moments) >= 5
    assert max(moments) <= 20
    assert sum(moments) / 1000 == pytest.approx(12.5, abs=0.5)
    assert moments[:3] == interruptions.draw_moments(replace(study, num_kills=3), 5.0, 20.0)
    assert moments[:3] != interruptions.draw_moments(replace(study, num_kills=3, kill_seed=1), 5.0, 20.0)


def test_where_a_kill_fell_is_read_from_the_stages(tmp_path):
    assert interruptions.stage_of(tmp_path) == "before the first stage"
    for number in (0, 2, 10):
        (tmp_path / "stages" / f"{number}-round_{number}").mkdir(parents=True)
        (tmp_path / "stages" / f"{number}-round_{number}" / "settings.json").touch()
    assert interruptions.stage_of(tmp_path) == "in round_10"
    (tmp_path / "stages" / "10-round_10" / "stage.json").touch()
    assert interruptions.stage_of(tmp_path) == "after round_10"


def test_an_earlier_study_is_not_overwritten(study, tmp_path, capsys):
    (tmp_path / "interruptions").mkdir()
    assert carry_out("interruptions", study, debug=False, program=STUDIES) == 2
    assert "is there already; delete it" in capsys.readouterr().err


def test_a_loop_that_fails_by_itself_is_said_with_its_last_words(study, tmp_path, capsys):
    broken = replace(study, data=DataSettings(num_validation=50))
    assert carry_out("interruptions", broken, debug=False, program=STUDIES) == 1
    said = capsys.readouterr().err
    assert "undisturbed failed with exit status 2: error: data.labels_per_class" in said
