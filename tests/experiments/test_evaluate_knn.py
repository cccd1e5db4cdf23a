"""``evaluate --knn``: the nearest-neighbour probe through the command, in one process and in two."""

import json
import socket
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from experiments.building import build_labeled, build_source
from experiments.command_line import carry_out
from experiments.commands import EvaluateCommand
from experiments.prediction_tables import read_predictions
from experiments.settings import DataSettings, TrainerSettings
from lightning_modules.checkpoints import AtomicCheckpointIO
from lightning_modules.classification import ClassificationModule
from lightning_modules.nearest_neighbors import NearestNeighbors
from lightning_modules.networks import create_network
from tests.conftest import ROOT, clean_environment

DATA = DataSettings(labels_per_class=20, num_validation=100, eval_batch_size=64)
TRAINER = TrainerSettings(accelerator="cpu", enable_progress_bar=False)


@pytest.fixture
def checkpoint(tmp_path):
    """Write a checkpoint of an untrained network, whose features tell digits apart well enough."""
    network = create_network("cnn_tiny", num_classes=10, num_channels=1)
    module = ClassificationModule(network, 10)
    content = {"state_dict": module.state_dict(), "split": split_of(DATA)}
    module.on_save_checkpoint(content)
    AtomicCheckpointIO().save_checkpoint(content, tmp_path / "untrained.ckpt")
    return tmp_path / "untrained.ckpt", network.eval()


def split_of(data):
    command = EvaluateCommand(checkpoint="", data=data)
    return build_labeled(build_source(data), command).split


def evaluate(tmp_path, checkpoint, **changes):
    settings = {"name": "e", "data": DATA, "trainer": TRAINER, "knn": True, "knn_neighbors": 30} | changes
    command = EvaluateCommand(output=str(tmp_path), wandb="off", checkpoint=str(checkpoint), **settings)
    assert carry_out("evaluate", command, debug=True) == 0
    return json.loads((tmp_path / "e" / "results.json").read_text())["stages"]["evaluate"]["metrics"]


def expected_accuracy(network):
    """Return validation and test accuracy of the votes, computed on whole splits at once."""
    data = build_labeled(build_source(DATA), EvaluateCommand(checkpoint="", data=DATA))
    with torch.no_grad():
        features = {
            name: network.features(samples.images(torch.arange(len(samples))) / 255)
            for name, samples in (("train", data.train), ("val", data.validation), ("test", data.test))
        }
    vote = NearestNeighbors(features["train"], data.train.targets, 10, num_neighbors=30)
    return {
        f"{name}/knn_accuracy": pytest.approx((vote(features[name]).argmax(1) == targets).float().mean().item())
        for name, targets in (("val", data.validation.targets), ("test", data.test.targets))
    }


def test_the_probe_stands_beside_the_usual_metrics(tmp_path, checkpoint, capsys):
    path, network = checkpoint
    metrics = evaluate(tmp_path, path)
    found = {name: value for name, value in metrics.items() if "knn" in name}
    assert found == expected_accuracy(network)
    assert found["test/knn_accuracy"] > 0.5 > metrics["test/accuracy"]
    row = next(line for line in capsys.readouterr().out.splitlines() if "30 nearest neighbours" in line)
    for value in found.values():
        assert f"{100 * value:.2f}" in row


def test_a_bank_that_is_smaller_than_asked_for_is_said(tmp_path, checkpoint, capsys):
    evaluate(tmp_path, checkpoint[0], knn_neighbors=500)
    record = json.loads((tmp_path / "e" / "results.json").read_text())["stages"]["evaluate"]
    assert record["knn_neighbors"] == 200  # 20 labels of each of ten classes
    printed = capsys.readouterr().out
    assert "200 nearest neighbours" in printed
    assert "500" not in printed


def test_no_probe_unless_asked_for(tmp_path, checkpoint):
    metrics = evaluate(tmp_path, checkpoint[0], knn=False)
    assert not any("knn" in name for name in metrics)


def test_another_split_is_not_validated_on(tmp_path, checkpoint):
    metrics = evaluate(tmp_path, checkpoint[0], data=replace(DATA, split_seed=5))
    assert not any(name.startswith("val/") for name in metrics)
    assert metrics["test/knn_accuracy"] > 0.3


FORKED = """
import os, sys
import experiments.evaluate
from experiments.command_line import main

os.environ["LOCAL_RANK"] = "1"  # as a launcher sets it; what is imported is shared
child = os.fork()
if child:
    os.environ["LOCAL_RANK"] = "0"
status = main(sys.argv[1:])
if child:
    status = status or os.waitpid(child, 0)[1]
sys.exit(status)
"""


def free_port() -> str:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return str(server.getsockname()[1])


@pytest.mark.slow
def test_two_processes_vote_with_the_same_bank(tmp_path, checkpoint):
    path, network = checkpoint
    options = {
        "--output": tmp_path,
        "--name": "e",
        "--wandb": "off",
        "--checkpoint": path,
        "--knn": "true",
        "--knn_neighbors": 30,
        "--data.labels_per_class": 20,
        "--data.num_validation": 100,
        "--data.eval_batch_size": 64,
        "--trainer.devices": 2,
        "--trainer.accelerator": "cpu",
        "--trainer.enable_progress_bar": "false",
    }
    arguments = ["evaluate", *(str(x) for pair in options.items() for x in pair)]
    environment = clean_environment() | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "NODE_RANK": "0"}
    result = subprocess.run(
        [sys.executable, "-c", FORKED, *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    record = json.loads((tmp_path / "e" / "results.json").read_text())["stages"]["evaluate"]
    assert record["processes"] == 2
    assert {name: value for name, value in record["metrics"].items() if "knn" in name} == expected_accuracy(network)
    assert_predictions_are_those_of(network, tmp_path / "e" / "stages" / "0-evaluate" / "predictions.parquet")


def assert_predictions_are_those_of(network, path):
    """Assert that a table has every test image of the digits once, with what the network says of it."""
    test = build_source(DATA).test
    with torch.no_grad():
        confidences, labels = network(test.images(torch.arange(len(test))) / 255).softmax(dim=1).max(dim=1)
    order = test.ids.argsort()
    found = read_predictions(path)
    assert found.ids.tolist() == test.ids[order].tolist()
    assert found.targets.tolist() == test.targets[order].tolist()
    assert found.labels.tolist() == labels[order].tolist()
    assert found.confidences.tolist() == pytest.approx(confidences[order].tolist(), abs=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"knn_neighbors": 0}, "knn_neighbors: got 0, expected 1 or more"),
        ({"knn_temperature": -1.0}, "knn_temperature: got -1.0, expected a number above 0"),
    ],
)
def test_mistakes_show_before_anything_is_done(options, message):
    with pytest.raises(ValueError, match=message):
        EvaluateCommand(checkpoint="x", knn=True, **options)
