"""Whether a student may teach: not if it is worse than its own teacher."""

from typing import Any

import torch
from torch import nn

from datamodules.sources.source import Samples
from experiments.intervals import paired_bootstrap
from experiments.predictions import correct_predictions

MOST_REJECTED = 2
"""So many rejected students end a self-training loop."""


def compare_networks(student: nn.Module, teacher: nn.Module, samples: Samples, device: torch.device) -> dict[str, Any]:
    """Return the student's accuracy less the teacher's on the same labelled samples, with its 95 % interval.

    The interval is that of a paired bootstrap over the samples; the differences are fractions in -1..1.
    """
    better = correct_predictions(student, samples, device).int() - correct_predictions(teacher, samples, device).int()
    interval = paired_bootstrap(better.numpy())
    return {"difference": interval.mean, "low": interval.low, "high": interval.high}


def is_accepted(comparison: dict[str, Any], guard: float | None) -> bool:
    """Return whether a student may be the next teacher.

    Args:
        comparison: of ``compare_networks``, on validation.
        guard: largest accuracy that a student may lose, in 0..1; ``None`` refuses one that is worse with 95 %
            confidence.
    """
    return bool(comparison["high"] >= 0 if guard is None else comparison["difference"] >= -guard)


def describe_verdict(name: str, comparison: dict[str, Any], teacher: str, accepted: bool) -> str:
    """Return one line that says who teaches next, and why."""
    points = f"{100 * comparison['difference']:+.2f} points"
    interval = f"95 % interval {100 * comparison['low']:+.2f} to {100 * comparison['high']:+.2f}"
    verdict = f"{name} teaches next" if accepted else f"{name} is rejected, {teacher} goes on teaching"
    return f"{name} against its teacher {teacher} on validation: {points} ({interval}); {verdict}"
