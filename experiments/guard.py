"""Whether a student may teach: not if it is worse than its own teacher."""

from typing import Any

import torch
from torch import nn

from datamodules.sources.source import Samples
from experiments.intervals import paired_bootstrap, paired_bootstrap_iou
from experiments.predictions import correct_predictions, pixel_confusions

MOST_REJECTED = 2
"""So many rejected students end a self-training loop."""


def compare_networks(
    student: nn.Module, teacher: nn.Module, samples: Samples, device: torch.device, batch_size: int
) -> dict[str, Any]:
    """Return the student's accuracy, of masks its mean IoU, less the teacher's on the same labelled samples.

    With it comes the 95 % interval of a paired bootstrap over the samples; the differences are fractions in -1..1.
    """
    if samples.masks is not None:
        counts = [pixel_confusions(network, samples, device, batch_size) for network in (student, teacher)]
        interval = paired_bootstrap_iou(counts[0].numpy(), counts[1].numpy())
    else:
        hits = [correct_predictions(network, samples, device, batch_size).int() for network in (student, teacher)]
        interval = paired_bootstrap((hits[0] - hits[1]).numpy())
    return {"difference": interval.mean, "low": interval.low, "high": interval.high}


def is_accepted(comparison: dict[str, Any], guard: float | None) -> bool:
    """Return whether a student may be the next teacher.

    Args:
        comparison: of ``compare_networks``, on validation.
        guard: largest accuracy or mean IoU that a student may lose, in 0..1; ``None`` refuses one that is worse with
            95 % confidence.
    """
    return bool(comparison["high"] >= 0 if guard is None else comparison["difference"] >= -guard)


def judge(
    student: nn.Module,
    teacher: nn.Module,
    validation: Samples,
    device: torch.device,
    guard: float | None,
    *,
    batch_size: int,
    is_unseen: bool,
) -> dict[str, Any]:
    """Return whether a student is ``accepted`` in its teacher's place, with the comparison that decided it.

    Args:
        student: who would teach next.
        teacher: who taught it.
        validation: the samples that decide.
        device: where both compute.
        guard: as ``is_accepted`` has it.
        batch_size: images that a network is given together.
        is_unseen: the teacher was not trained on these samples; else they cannot decide, and the student is accepted.
    """
    if not is_unseen:
        return {"accepted": True}
    comparison = compare_networks(student, teacher, validation, device, batch_size)
    return comparison | {"accepted": is_accepted(comparison, guard)}


def describe_verdict(name: str, verdict: dict[str, Any], teacher: str) -> str:
    """Return one line that says whether a network is accepted in its teacher's place, and why."""
    if "difference" not in verdict:
        return (
            f"{name} is accepted unjudged: its teacher {teacher} comes from another split of the data, and may have "
            "been trained on today's validation samples"
        )
    points = f"{100 * verdict['difference']:+.2f} points"
    interval = f"95 % interval {100 * verdict['low']:+.2f} to {100 * verdict['high']:+.2f}"
    decision = f"{name} is accepted" if verdict["accepted"] else f"{name} is rejected, {teacher} stays"
    return f"{name} against its teacher {teacher} on validation: {points} ({interval}); {decision}"
