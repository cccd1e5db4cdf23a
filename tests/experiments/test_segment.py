"""Images with masks through the commands: segment, distill, evaluate."""

import json
from pathlib import Path

import pytest
import torch

import experiments.mask_report as mask_report
from datamodules.sources import create_source
from experiments.__main__ import main
from experiments.prediction_tables import read_confusion
from lightning_modules.checkpoints import load_network
from lightning_modules.segmentation_metrics import SegmentationMetrics, class_ious

SCENES = ["--data.source", "digit_scenes", "--data.num_scenes", "40", "--data.side", "32", "--data.batch_size", "8"]
ALWAYS = ["--wandb", "off", "--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"]
SHORT = [*ALWAYS, "--trainer.max_epochs", "1"]
SMALL = "{width: 2, depth: 1}"


def run(command: str, output: Path, *options: str) -> int:
    try:
        return main([command, "--output", str(output), *SHORT, *options])
    except SystemExit as ended:
        return int(ended.code)


@pytest.fixture(scope="module")
def segmented(tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("segment")
    options = ["--boundary", "true", "--num_examples", "2", "--model.options", SMALL]
    assert run("segment", output, "--name", "scenes", *SCENES, *options) == 0
    return output / "scenes"


def test_the_figures_are_those_of_the_checkpoint(segmented):
    results = json.loads((segmented / "results.json").read_text())
    record = results["stages"]["train"]
    network, test = (
        load_network(segmented / record["checkpoint"]).eval(),
        create_source("digit_scenes", num_scenes=40, side=32).test,
    )
    metrics, everything = SegmentationMetrics(11, boundary=True), torch.arange(len(test))
    with torch.no_grad():
        metrics.update(network(test.images(everything) / 255), test.read_targets(everything))
    expected = {name: float(value) for name, value in metrics.compute().items()}
    found = {name.removeprefix("test/"): value for name, value in record["metrics"].items() if "test/" in name}
    assert found == pytest.approx(expected | {"loss": found["loss"]}, abs=1e-5)
    assert results["masks"]["mean_iou"] == pytest.approx(expected["mean_iou"], abs=1e-5)
    assert list(results["masks"]["class_iou"]) == ["background", *"0123456789"]
    assert len(results["masks"]["worst"]) == 2
    assert all((segmented / name).is_file() for name in ("overlays.png", "class_iou.png", "worst.png"))
    class_names, confusion = read_confusion(segmented / "stages" / "0-train" / "confusion.csv")
    assert class_names == ["background", *"0123456789"]
    assert float(class_ious(torch.from_numpy(confusion).double()).nanmean()) == pytest.approx(expected["mean_iou"])
    assert (segmented / "stages" / "0-train" / "overlays.png").is_file()


def test_evaluate_measures_the_same(segmented, tmp_path):
    record = json.loads((segmented / "results.json").read_text())["stages"]["train"]
    checkpoint = str(segmented / record["checkpoint"])
    assert run("evaluate", tmp_path, "--name", "again", "--checkpoint", checkpoint, *SCENES) == 0
    again = json.loads((tmp_path / "again" / "results.json").read_text())["stages"]["evaluate"]
    assert again["metrics"]["test/mean_iou"] == record["metrics"]["test/mean_iou"]
    assert run("evaluate", tmp_path, "--checkpoint", checkpoint, *SCENES, "--knn", "true") == 2


@pytest.mark.parametrize(("precision", "expected"), [("bf16-mixed", "bfloat16"), ("32-true", "float32")])
def test_reports_compute_in_the_precision_of_the_trainer(segmented, tmp_path, monkeypatch, precision, expected):
    given = []

    def prepare(network, precision, *_, **__):
        given.append(precision)
        return network

    monkeypatch.setattr(mask_report, "prepare_for_inference", prepare)
    options = ["--trainer.precision", precision, *SCENES]
    assert run("segment", tmp_path, *options, "--model.options", SMALL, "--trainer.max_epochs", "1") == 0
    record = json.loads((segmented / "results.json").read_text())["stages"]["train"]
    assert run("evaluate", tmp_path, *options, "--checkpoint", str(segmented / record["checkpoint"])) == 0
    assert given == [expected, expected]


def test_distill_takes_masks_and_says_so(tmp_path, capsys):
    networks = ["--teacher.network", "unet", "--teacher.options", SMALL, "--student.network", "unet"]
    options = ["--student.options", "{width: 1, depth: 1}", "--data.labeled_fraction", "0.25"]
    assert run("distill", tmp_path, *SCENES, *networks, *options, "--data.unlabeled_batch_size", "8") == 0
    stages = json.loads((tmp_path / "distill" / "results.json").read_text())["stages"]
    assert set(stages) == {"teacher", "student_alone", "student_distilled", "student_all_labels"}
    assert all(0 <= record["metrics"]["test/mean_iou"] <= 1 for record in stages.values())
    said = capsys.readouterr().out
    assert "mean IoU in %" in said
    assert "points of mean IoU on test" in said


@pytest.mark.parametrize(
    ("command", "options", "message"),
    [
        ("segment", ["--data.source", "digits"], "expected one whose targets are masks, such as digit_scenes"),
        ("train", SCENES, "use the command segment"),
        ("segment", [*SCENES, "--model.network", "cnn_tiny"], "model.network: got cnn_tiny, one that classifies"),
        ("segment", [*SCENES, "--data.labels_per_class", "3"], "data.num_labeled or data.labeled_fraction says how"),
        ("train", ["--data.num_labeled", "3"], "data.num_labeled: got 3, expected null: digits has images without"),
        ("segment", [*SCENES, "--data.augmentation.num_ops", "2"], "data.augmentation.num_ops: got 2, expected null"),
        ("train", ["--data.augmentation.crop_size", "4"], "data.augmentation.crop_size: got 4, expected null"),
        ("segment", [*SCENES, "--data.augmentation.mixup_alpha", "1"], "a pixel of a mask has one class"),
        ("segment", [*SCENES, "--data.augmentation.scale", "[2, 1]"], "data.augmentation.scale: got"),
        ("segment", [*SCENES, "--mask_loss.class_weights", "[1, 2]"], "one number for each of the 11 classes"),
        ("segment", [*SCENES, "--num_examples", "0"], "num_examples: got 0, expected 1 or more"),
        ("distill", [*SCENES, "--data.num_labeled", "9"], "student.network: got cnn_small, one that classifies"),
        ("distill", ["--distillation.labels", "channel_wise"], "got 'channel_wise', expected 'soft' or 'hard'"),
        ("distill", ["--mask_loss.dice_weight", "0"], "expected nothing: the targets of digits are classes"),
    ],
)
def test_mistakes_are_named(command, options, message, tmp_path, capsys):
    assert run(command, tmp_path, *options) == 2
    assert message in capsys.readouterr().err


def test_cutmix_and_scales_reach_the_batches(tmp_path):
    mixed = ["--data.augmentation.cutmix_alpha", "1", "--data.augmentation.scale", "[0.5, 2]"]
    losses = []
    for name, options in (("plain", []), ("mixed", mixed)):
        assert run("segment", tmp_path, "--name", name, *SCENES, "--model.options", SMALL, *options) == 0
        record = json.loads((tmp_path / name / "results.json").read_text())["stages"]["train"]
        losses.append(record["metrics"]["val/loss"])
    assert losses[0] != losses[1]
