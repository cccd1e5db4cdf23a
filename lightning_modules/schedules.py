"""Quantities that move over training: temperature, alpha, loss weights."""

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Schedule:
    """A value that moves from ``start`` to ``end`` as training progresses.

    Called with the progress in ``[0, 1]``: ``constant`` stays at ``start``; ``linear`` and half-``cosine``
    reach ``end`` at 1.
    """

    start: float
    end: float
    shape: Literal["constant", "linear", "cosine"] = "constant"

    def __call__(self, progress: float) -> float:
        """Return the value at ``progress``, which is clamped to ``[0, 1]``."""
        progress = min(max(progress, 0.0), 1.0)
        if self.shape == "constant":
            return self.start
        done = progress if self.shape == "linear" else (1 - math.cos(math.pi * progress)) / 2
        return self.start + (self.end - self.start) * done
