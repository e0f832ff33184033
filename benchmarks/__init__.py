"""Benchmarks: each module measures one thing against a limit or a peer, in the same run.

A module has a NAME and `run(rounds)`, which returns Rows. Absolute times are noise on a shared
machine; ratios of interleaved rounds are the result.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Row:
    """One result: `ratio` is how well `what` does against `against`, as `target` states it."""

    what: str
    against: str
    ratio: float
    low: float
    high: float
    target: str
    met: bool
    note: str = ""


@dataclass
class Laps:
    """Seconds of each round, by variant."""

    seconds: dict[str, list[float]] = field(default_factory=dict)

    def median(self, variant: str) -> float:
        """The median round of a variant, in seconds."""
        return statistics.median(self.seconds[variant])

    def ratios(self, fast: str, slow: str) -> tuple[float, float, float]:
        """How many times faster `fast` is than `slow`, round by round: median, min and max."""
        pairs = zip(self.seconds[slow], self.seconds[fast], strict=True)
        each = [slow_s / fast_s for slow_s, fast_s in pairs]
        return statistics.median(each), min(each), max(each)


def interleave(
    rounds: int,
    variants: dict[str, Callable[[], object]],
    prepare: Callable[[], object] = lambda: None,
) -> Laps:
    """Run every variant in turn, `rounds` times after one warm-up, and time each.

    `prepare` runs before each of them, off the clock.
    """
    laps = Laps({name: [] for name in variants})
    for number in range(rounds + 1):
        for name, variant in variants.items():
            prepare()
            start = time.perf_counter()
            variant()
            elapsed = time.perf_counter() - start
            if number:
                laps.seconds[name].append(elapsed)
    return laps
