"""What the whole distillation will take, from what a short one took."""

import resource
import statistics
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from experiments.distill import Distillation
from experiments.preflights.assessment import Assessment
from experiments.stage import Record

NUM_PARTS = 10
CHECKPOINTS_OF_AN_EPOCH = 2


def forecast(whole: Distillation, records: dict[str, Record], found: dict[str, Assessment]) -> dict[str, Any]:
    """Return what each stage of ``distill`` will take in seconds, and all together, each as mean, fastest, slowest.

    An epoch is its batches, its checkpoints and its validation. Fastest and slowest are what the batches of the
    fastest and of the slowest tenth of a run make of it.

    Args:
        whole: the pipeline as it would be run.
        records: what ``run_short`` returned of each student.
        found: of the teacher and of the student at its start, on the same samples.
    """
    stages = dict(records)
    if whole.command.student_all_labels and whole.labeled.pool is not None:
        stages["student_all_labels"] = records["student_alone"]
    evaluation = {name: found[name].seconds / len(found[name].predicted) for name in ("teacher", "student_at_start")}
    rows: dict[str, Any] = {"teacher": {"seconds": [evaluation["teacher"] * num_evaluated(whole)] * 3}}
    rows |= {name: of_student(whole, record, evaluation["student_at_start"]) for name, record in stages.items()}
    total = [sum(values) for values in zip(*(row["seconds"] for row in rows.values()), strict=True)]
    return rows | {"all": {"seconds": total}}


def of_student(whole: Distillation, record: Record, an_image: float) -> dict[str, list[float]]:
    """Return what a batch, an epoch and the whole stage of a student take, if an image is evaluated in ``an_image``."""
    trainer = whole.command.trainer
    batch = mean_and_range(record["batch_seconds"])
    validation = len(whole.labeled.validation) * an_image / trainer.check_val_every_n_epoch
    end = CHECKPOINTS_OF_AN_EPOCH * record["epoch_end_seconds"] + validation
    epoch = [whole.data.steps_per_epoch * each + end for each in batch]
    evaluation = num_evaluated(whole) * an_image
    seconds = [trainer.max_epochs * each + evaluation for each in epoch]
    return {"batch_seconds": batch, "epoch_seconds": epoch, "seconds": seconds}


def num_evaluated(whole: Distillation) -> int:
    """Return how many images a stage is evaluated on at its end: validation and test."""
    return len(whole.labeled.validation) + len(whole.labeled.test)


def mean_and_range(seconds: Sequence[float]) -> list[float]:
    """Return the mean of a run's times, and the means of its fastest and its slowest tenth, in their order."""
    parts = [part.mean() for part in np.array_split(np.asarray(seconds), min(NUM_PARTS, len(seconds)))]
    return [statistics.fmean(seconds), float(min(parts)), float(max(parts))]


def memory(device: torch.device, records: dict[str, Record]) -> dict[str, int | None]:
    """Return bytes: most of the process so far, most on the GPU if there is one, of a checkpoint of a student."""
    in_bytes = 1 if sys.platform == "darwin" else 1024
    return {
        "resident_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * in_bytes,
        "device_bytes": torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None,
        "checkpoint_bytes": max((record["checkpoint_bytes"] for record in records.values()), default=None),
    }
