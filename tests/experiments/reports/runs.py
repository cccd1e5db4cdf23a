"""Runs as they lie on disk, made of a few numbers: nothing is trained."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from experiments.prediction_tables import (
    CONFUSION,
    EXAMPLES,
    PREDICTIONS,
    Example,
    Predictions,
    write_confusion,
    write_examples,
    write_predictions,
)

NAMES = ("<b>|x", "$cat$ $dog$", "_c")
"""Classes that would be markup or a formula where they are not escaped."""
NUM_TEST = 200
NUM_CLASSES = len(NAMES)


def trained(accuracy: float, parameters: int = 1_946, **more: Any) -> dict[str, Any]:
    """Return the record of a stage; accuracies are of 200 test images."""
    metrics = {"val/accuracy": accuracy, "val/loss": 0.4, "test/accuracy": accuracy, "test/loss": 0.5}
    return {
        "parameters": parameters,
        "device": "cpu (2 cores)",
        "processes": 1,
        "metrics": metrics,
        "seconds": 12.5,
        "steps": 40,
        "epochs": 2,
        "checkpoint": "stages/x/best.ckpt",
        "images": 1_280,
        "latency_ms": 0.25,
    } | more


def audit(pool: int, selected: int, changed: int | None, accuracy: float | None = 0.9) -> dict[str, Any]:
    """Return what is known of a round's pseudo-labels."""
    sizes = np.diff(np.linspace(0, pool, NUM_CLASSES + 1).astype(int)).tolist()
    return {
        "table": "pseudo_labels/round.parquet",
        "pool": pool,
        "selected": selected,
        "selected_share": selected / pool,
        "accuracy": accuracy,
        "accuracy_selected": accuracy,
        "per_class": [
            {"class": name, "pool": size, "selected": size // 2, "accuracy": accuracy, "accuracy_selected": accuracy}
            | {"recall": accuracy}
            for name, size in zip(NAMES, sizes, strict=True)
        ],
        "calibration_error": None if accuracy is None else 0.04,
        "changed": changed,
        "reliability": None,
    }


def predictions(accuracy: float, first_wrong: int = 0) -> Predictions:
    """Return predictions of 200 images, of which so many from ``first_wrong`` on are wrong."""
    targets = np.arange(NUM_TEST) % NUM_CLASSES
    labels = targets.copy()
    wrong = slice(first_wrong, first_wrong + round(NUM_TEST * (1 - accuracy)))
    labels[wrong] = (labels[wrong] + 1) % NUM_CLASSES
    confidences = np.linspace(0.4, 1, NUM_TEST, dtype=np.float32)
    return Predictions(1_000 + np.arange(NUM_TEST), targets, labels, confidences, NAMES)


def png(side: int = 8) -> bytes:
    """Return a grey picture."""
    file = io.BytesIO()
    Image.fromarray(np.arange(side * side, dtype=np.uint8).reshape(side, side)).save(file, "PNG")
    return file.getvalue()


def examples() -> list[Example]:
    """Return an example of each kind."""
    return [
        Example("confident_mistake", 1_003, 0, 1, 0.875, png()),
        Example("least_sure", 1_004, -1, 2, 0.375, png(16)),
    ]


def write_curve(directory: Path, losses: list[float], measure: str = "accuracy") -> None:
    """Write ``metrics.csv``: a row an epoch, and the test."""
    with (directory / "metrics.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["step", "epoch", "lr-AdamW", "train/loss", f"val/{measure}", f"test/{measure}"])
        writer.writerow([0, 0, 0.01, "", "", ""])
        for epoch, loss in enumerate(losses):
            writer.writerow([20 * epoch + 19, epoch, "", loss, 0.5 + 0.1 * epoch, ""])
        writer.writerow([20 * len(losses), len(losses), "", "", 0.123, 0.456])


def write_run(
    directory: Path, command: str, stages: dict[str, dict[str, Any]], files: bool = True, **results: Any
) -> Path:
    """Write a run's directory; with ``files`` also what the stages leave beside their records."""
    content = {
        "command": command,
        "name": directory.name,
        "seed": 3,
        "versions": {"torch": "2.14.1", "lightning": "2.6.6"},
        "device": "cpu (2 cores)",
        "skipped_images": 0,
        "stages": stages,
    } | results
    config = {"seed": 3, "name": directory.name, "output": "runs"}
    config["data"] = {"source": "digits", "labels_per_class": 10, "num_validation": 50}
    directory.mkdir(parents=True)
    (directory / "results.json").write_text(json.dumps(content))
    (directory / "config.yaml").write_text(yaml.safe_dump(config))
    for number, (name, record) in enumerate(stages.items()):
        if files and "metrics" in record:
            write_stage(directory / "stages" / f"{number}-{name}", record, first_wrong=10 * number)
    return directory


def write_stage(directory: Path, record: dict[str, Any], first_wrong: int) -> None:
    """Write the files of a stage whose record is given."""
    directory.mkdir(parents=True)
    network = {"network": "cnn_tiny", "options": {}}
    (directory / "settings.json").write_text(json.dumps({"student": network}))
    measure = "mean_iou" if "test/mean_iou" in record["metrics"] else "accuracy"
    write_curve(directory, [1.5, 0.75], measure)
    if measure == "mean_iou":
        matrix = np.array([[80, 10, 10], [0, 50, 50], [0, 0, 0]])
        write_confusion(directory / CONFUSION, matrix, NAMES)
        return
    write_predictions(directory / PREDICTIONS, predictions(record["metrics"]["test/accuracy"], first_wrong))
    write_examples(directory / EXAMPLES, examples(), NAMES)


def write_distillation(directory: Path, files: bool = True, alone: float = 0.7, distilled: float = 0.9) -> Path:
    """Write a distillation of three stages."""
    stages = {"teacher": trained(0.95, 65_834, latency_ms=1.5), "student_alone": trained(alone)}
    return write_run(directory, "distill", stages | {"student_distilled": trained(distilled)}, files)


def write_self_training(directory: Path, files: bool = True, low: float = 0.01) -> Path:
    """Write a self-training loop of two rounds, of which the first student is rejected, and its baselines."""
    first = {"accepted": False, "difference": -0.1, "low": -0.2, "high": -0.05, "teacher": "round_0"}
    second = {"accepted": True, "difference": 0.1, "low": 0.05, "high": 0.2, "teacher": "round_0"}
    stages = {
        "round_0": trained(0.7),
        "round_1_labels": {"seconds": 1.0, "pseudo_labels": audit(600, 300, None)},
        "round_1": trained(0.6, guard=first, pseudo_labels=audit(600, 300, None)),
        "round_2_labels": {"seconds": 1.0, "pseudo_labels": audit(600, 450, 60)},
        "round_2": trained(0.9, 16_794, guard=second, pseudo_labels=audit(600, 450, 60)),
        "supervised": trained(0.85, 16_794),
        "supervised_noised": trained(0.8, 16_794),
        "supervised_all_labels": trained(0.95, 16_794),
    }
    summary = {"final": "round_2", "baseline": "supervised", "difference": 0.05, "low": low, "high": 0.09}
    return write_run(directory, "self-train", stages, files, summary=summary | {"sentence": "It gained."})


def write_segmentation(directory: Path, files: bool = True) -> Path:
    """Write a run with masks."""
    record = trained(0.0) | {"metrics": {"val/mean_iou": 0.6, "test/mean_iou": 0.55}}
    write_run(directory, "segment", {"train": record}, files)
    (directory / "overlays.png").write_bytes(png(200))
    return directory


def write_comparison(directory: Path, low: float | None = 0.02) -> Path:
    """Write a comparison of two settings over three seeds."""
    sides = [{"setting": name, "stage": "student_distilled"} for name in ("<i>warm|", "cold")]
    row = {"parameters": 1_946, "steps": 40, "images": 1_280, "seconds": {"mean": 12.5, "std": 0.5}, "std": 0.01}
    over = {"seeds": [0, 1, 2], "over": "seeds"}
    values = ([0.9, 0.91, 0.92], [0.85, 0.86, 0.87])
    rows = [
        side | row | over | {"mean": float(np.mean(each)), "low": each[0], "high": each[2], "values": each}
        for side, each in zip(sides, values, strict=True)
    ]
    pair = {"first": sides[0], "second": sides[1], "difference": 0.05, "low": low, "high": 0.08}
    pair |= over | {"distinguishable": None if low is None else low > 0, "steps_match": True}
    directory.mkdir(parents=True)
    content = {"command": "compare", "name": directory.name, "seeds": [0, 1, 2], "measure": "accuracy"}
    content |= {"jobs": 1, "device": "cpu (2 cores)", "versions": {"torch": "2.14.1"}}
    (directory / "comparison.json").write_text(json.dumps(content | {"rows": rows, "pairs": [pair]}))
    return directory
