"""Comparing two ways of doing the same work: interleaved in one process, medians of ratios."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Comparison:
    """What a pair of timed functions showed.

    Attributes:
        name: what was compared.
        ours_seconds: median seconds of one call of ours.
        peer_seconds: median seconds of one call of the peer.
        speedups: peer's seconds over ours, one of each adjacent pair of calls.
    """

    name: str
    ours_seconds: float
    peer_seconds: float
    speedups: tuple[float, ...]

    @property
    def speedup(self) -> float:
        """Median of the pairs' speed-ups: above 1, ours is faster."""
        return statistics.median(self.speedups)

    @property
    def quartiles(self) -> tuple[float, float]:
        """Lower and upper quartile of the pairs' speed-ups."""
        lower, _, upper = statistics.quantiles(self.speedups, n=4)
        return lower, upper


def wall_seconds(work: Callable[[], object]) -> float:
    """Return the wall-clock seconds of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compare(
    name: str,
    ours: Callable[[], object],
    peer: Callable[[], object],
    pairs: int = 15,
    warmup: int = 2,
    seconds_of: Callable[[Callable[[], object]], float] = wall_seconds,
) -> Comparison:
    """Time both in turn, ours first in every other pair, so that a drift of the machine meets both alike.

    Args:
        name: what is compared.
        ours: does the work our way.
        peer: does the same work the other way.
        pairs: how many pairs of calls are timed.
        warmup: calls of both before.
        seconds_of: runs a function and returns the seconds that count.
    """
    for _ in range(warmup):
        ours(), peer()
    times: list[tuple[float, float]] = []
    for pair in range(pairs):
        if pair % 2:
            peer_seconds, ours_seconds = seconds_of(peer), seconds_of(ours)
        else:
            ours_seconds, peer_seconds = seconds_of(ours), seconds_of(peer)
        times.append((ours_seconds, peer_seconds))
    return Comparison(
        name=name,
        ours_seconds=statistics.median(o for o, _ in times),
        peer_seconds=statistics.median(p for _, p in times),
        speedups=tuple(p / o for o, p in times),
    )
