"""Stages: finished ones are skipped, others resumed, changed settings refused."""

import json

import pytest

from experiments.commands import TrainCommand
from experiments.run import Run, is_main_process
from experiments.settings import DataSettings, TrainerSettings


def open_run(tmp_path, **settings) -> Run:
    return Run("train", TrainCommand(output=str(tmp_path), name="run", wandb="off", **settings))


RECORD = {"parameters": 3, "seconds": 1.0, "steps": 2, "checkpoint": None, "metrics": {"val/accuracy": 0.5}}


def test_a_finished_stage_is_not_done_again(tmp_path, capsys):
    calls = []

    def work(stage):
        calls.append(stage.name)
        return RECORD

    for _ in range(2):
        run = open_run(tmp_path)
        assert run.stage("teacher", work, seed=1) == RECORD
        results = run.finish()
    assert calls == ["teacher"]
    assert "teacher: finished before" in capsys.readouterr().out
    assert json.loads((tmp_path / "run" / "results.json").read_text()) == results
    assert results["stages"] == {"teacher": RECORD}
    assert set(results) >= {"command", "name", "seed", "versions", "device", "stages"}


def test_a_stage_that_failed_is_done_again(tmp_path):
    def fail(stage):
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        open_run(tmp_path).stage("teacher", fail, seed=1)
    assert not (tmp_path / "run" / "stages" / "0-teacher" / "stage.json").exists()
    assert open_run(tmp_path).stage("teacher", lambda stage: RECORD, seed=1) == RECORD


@pytest.mark.parametrize("finished", [True, False])
def test_changed_settings_are_refused(tmp_path, finished):
    def work(stage):
        if not finished:
            stage.last_checkpoint.parent.mkdir()
            stage.last_checkpoint.touch()
            raise RuntimeError("interrupted")
        return RECORD

    try:
        open_run(tmp_path).stage("teacher", work, data=DataSettings(batch_size=32))
    except RuntimeError:
        assert not finished
    message = r"data\.batch_size: got 64, but stage 'teacher' in .*run was begun with 32; give the run another --name"
    with pytest.raises(ValueError, match=message):
        open_run(tmp_path).stage("teacher", work, data=DataSettings(batch_size=64))


def test_where_it_is_computed_may_change(tmp_path):
    first, second = TrainerSettings(devices=1), TrainerSettings(devices=2, enable_progress_bar=False)
    open_run(tmp_path).stage("teacher", lambda stage: RECORD, trainer=first)
    assert open_run(tmp_path).stage("teacher", lambda stage: None, trainer=second) == RECORD
    with pytest.raises(ValueError, match=r"trainer\.max_epochs: got 3"):
        open_run(tmp_path).stage("teacher", lambda stage: None, trainer=TrainerSettings(max_epochs=3))


def test_a_lost_checkpoint_is_not_trained_anew_in_silence(tmp_path):
    def work(stage):
        (stage.directory / "metrics.csv").write_text("step\n1\n")
        stage.resume_checkpoint()

    with pytest.raises(ValueError, match=r"last\.ckpt: missing, though .*metrics\.csv shows that this stage was begun"):
        open_run(tmp_path).stage("teacher", work)


def test_an_output_that_cannot_be_written_is_said_at_once(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"output: cannot write .*file/run .*--output"):
        Run("train", TrainCommand(output=str(tmp_path / "file"), name="run", wandb="off"))


def test_a_damaged_record_is_named(tmp_path):
    open_run(tmp_path).stage("teacher", lambda stage: RECORD)
    (tmp_path / "run" / "stages" / "0-teacher" / "stage.json").write_text("{")
    with pytest.raises(ValueError, match=r"stage\.json: not valid JSON"):
        open_run(tmp_path).stage("teacher", lambda stage: RECORD)


def test_a_refused_run_leaves_the_configuration_as_it_was(tmp_path):
    open_run(tmp_path, seed=1).stage("teacher", lambda stage: RECORD, seed=1)
    before = (tmp_path / "run" / "config.yaml").read_text()
    assert "seed: 1\n" in before
    with pytest.raises(ValueError, match=r"seed: got 2"):
        open_run(tmp_path, seed=2).stage("teacher", lambda stage: RECORD, seed=2)
    assert (tmp_path / "run" / "config.yaml").read_text() == before


def test_a_written_configuration_repeats_the_run(tmp_path):
    from experiments.command_line import build_parser

    data = DataSettings(crop_scale=(0.2, 1.0))
    for _ in range(2):
        open_run(tmp_path, data=data).stage("teacher", lambda stage: RECORD, data=data)
    parser = build_parser("train")
    namespace = parser.parse_args(["--config", str(tmp_path / "run" / "config.yaml")])
    assert parser.instantiate(namespace).data == DataSettings(crop_scale=(0.2, 1.0))


@pytest.mark.parametrize(
    ("environment", "is_main"),
    [
        ({}, True),
        ({"LOCAL_RANK": "0", "NODE_RANK": "0"}, True),
        ({"LOCAL_RANK": "1", "NODE_RANK": "0"}, False),
        ({"LOCAL_RANK": "0", "NODE_RANK": "1"}, False),
        ({"RANK": "4", "LOCAL_RANK": "0"}, False),
        ({"SLURM_PROCID": "3"}, False),
    ],
)
def test_one_process_of_all_writes(monkeypatch, environment, is_main):
    for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert is_main_process() == is_main
