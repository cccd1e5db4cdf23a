"""What W&B's offline client wrote of a self-training loop."""

import dataclasses
import json

import pytest

from experiments.command_line import carry_out
from tests.experiments.test_self_train import ROUND, command, results_of
from tests.experiments.test_tracking import inspect


def summary_of(records: list[dict]) -> dict:
    """Return the last value of every key of the run's summary."""
    updates = [record["summary"]["update"] for record in records if record["type"] == "summary"]
    return {name: value for update in updates for name, value in update.items()}


def test_the_audit_is_in_the_labels_run_as_numbers_and_as_a_picture(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    once = dataclasses.replace(ROUND, max_epochs=1)
    loop = dataclasses.replace(command(tmp_path, round=once, num_rounds=1), wandb="offline")
    assert carry_out("self-train", loop, debug=True) == 0

    run = tmp_path / "loop"
    runs = {}
    for directory in (run / "wandb").glob("offline-run-*"):
        records = inspect(directory)
        started = next(record["run"] for record in records if record["type"] == "run")
        assert started["run_group"] == "loop"
        runs[started["job_type"]] = (directory, records)
    assert set(runs) == {"round_0", "round_1_labels", "round_1"}

    directory, records = runs["round_1_labels"]
    audit = results_of(tmp_path)["stages"]["round_1"]["pseudo_labels"]
    summary = summary_of(records)
    for name in ("pool", "selected", "selected_share", "accuracy", "accuracy_selected", "calibration_error"):
        assert summary[f"pseudo_labels/{name}"] == pytest.approx(audit[name])
    picture = directory / "files" / summary["pseudo_labels/audit.path"]
    assert picture.read_bytes() == (run / "pseudo_labels.png").read_bytes()

    artifact = json.dumps([record for record in records if "loop-round_1_labels" in json.dumps(record)])
    teacher = results_of(tmp_path)["stages"]["round_1_labels"]["teacher"]
    for known in (teacher, "confidence_threshold", "per_class", "round-1"):
        assert known in artifact
    assert "loop-round_1_labels:latest" in json.dumps(runs["round_1"][1])  # the student's run names its table,
    assert "loop-round_0-model:best" in json.dumps(records)  # and the table's its teacher
    models = [record["artifact"] for record in runs["round_1"][1] if record["type"] == "artifact"]
    assert ["best", "latest", "round-1"] in [sorted(each["aliases"]) for each in models]
