"""The self-training loop on two processes, one of which dies."""

import dataclasses
import json
import subprocess
import sys

import pytest
import yaml

from experiments.command_line import carry_out
from experiments.commands import TrainCommand
from experiments.network_settings import NetworkSettings, TeacherSettings
from experiments.pseudo_label_settings import PseudoLabelSettings
from experiments.run import plain
from experiments.settings import DataSettings
from tests.conftest import ROOT, clean_environment, run_command
from tests.experiments.test_self_train import ROUND, command

DYING = """
import os, signal, sys
sys.path.insert(0, {root!r})
from datamodules.pseudo_label_writer import PseudoLabelWriter
from experiments.command_line import main

original = PseudoLabelWriter.write_on_batch_end

def die(self, trainer, *rest):
    original(self, trainer, *rest)
    if trainer.global_rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)

PseudoLabelWriter.write_on_batch_end = die
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def loop(tmp_path):
    """A loop with a given teacher, float32, and a pool that two processes cannot halve."""
    data = DataSettings(labels_per_class=5, num_validation=51, steps_per_epoch=4, eval_batch_size=100)
    first = command(tmp_path, "teacher")
    teacher = TrainCommand(
        output=str(tmp_path),
        name="teacher",
        wandb="off",
        model=NetworkSettings(network="cnn_tiny"),
        data=data,
        trainer=first.trainer,
    )
    assert carry_out("train", teacher, debug=True) == 0
    checkpoint = tmp_path / "teacher" / "stages" / "0-train" / "checkpoints" / "best.ckpt"
    settings = dataclasses.replace(ROUND, max_epochs=1, pseudo_labels=PseudoLabelSettings(precision="float32"))
    return command(tmp_path, "one", data=data, teacher=TeacherSettings(checkpoint=str(checkpoint)), round=settings)


@pytest.mark.slow
def test_two_processes_one_of_them_killed_make_the_table_of_one(tmp_path, loop):
    assert carry_out("self-train", dataclasses.replace(loop, num_rounds=1), debug=True) == 0
    expected = (tmp_path / "one" / "pseudo_labels" / "round_1.parquet").read_bytes()

    two = dataclasses.replace(loop, name="two", trainer=dataclasses.replace(loop.trainer, devices=2))
    (tmp_path / "two.yaml").write_text(yaml.safe_dump(plain(vars(two))))
    (tmp_path / "dying.py").write_text(DYING.format(root=str(ROOT)))
    options = ["self-train", "--config", str(tmp_path / "two.yaml")]
    died = subprocess.run(
        [sys.executable, str(tmp_path / "dying.py"), *options],
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert died.returncode == 1, died.stderr
    assert "round_1.parquet: not written, because another process of this run ended" in died.stderr
    assert "run the same command again" in died.stderr
    assert not list((tmp_path / "two").rglob("round_1.parquet"))

    again = run_command(*options, timeout=400)
    assert again.returncode == 0, again.stderr
    assert "round_0: finished before" in again.stdout
    stages = json.loads((tmp_path / "two" / "results.json").read_text())["stages"]
    assert list(stages) == ["round_0", "round_1_labels", "round_1", "round_2_labels", "round_2"]
    assert stages["round_1"]["processes"] == 2
    assert stages["round_1"]["pseudo_labels"]["pool"] % 2 == 1
    assert (tmp_path / "two" / "pseudo_labels" / "round_1.parquet").read_bytes() == expected
    assert [path.name for path in sorted((tmp_path / "two" / "pseudo_labels").iterdir())] == [
        "round_1.parquet",
        "round_2.parquet",
    ]
