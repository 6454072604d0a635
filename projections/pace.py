"""The pace of an operation: how many items it does in a second of work, lately and in the longer run.

Averages over recorded time in which older seconds count for less (exponential weights for readings at uneven
intervals). An interval's items are spread evenly over it, so one chunk a minute and a thousand a second are both
measured right, and a time in which nothing happened is forgotten as fast as any other. Where chunks are slow the
averages reach further back, so that they are always over several.
"""

from dataclasses import dataclass
from math import expm1, log

RECENT_SECONDS, RECENT_CHUNKS = 20.0, 8.0
"""A second of work that is this long ago, or this many chunks, counts for 1/e of the present one in `rate`."""

STEADY_SECONDS, STEADY_CHUNKS = 300.0, 50.0
"""The same for the longer run, which the recent rate is compared with."""

UNTESTED_SPREAD = 0.06
"""The variance of the logarithm of the rate to assume before it was measured: about a quarter up or down."""

_SETTLE_SECONDS = 0.1
"""Readings are collected up to this long before the averages move: a burst of chunks is one reading."""


@dataclass(slots=True)
class Pace:
    """Weighted sums of items and seconds of work, lately and in the longer run (`steady_…`).

    `all_…` are sums since the beginning, `new_…` the reading being collected, and `spread` is the variance of
    ln(recent rate / steady rate). `until_seconds` is how long the operation had worked at the last chunk.
    """

    until_seconds: float = 0.0

    items: float = 0.0
    seconds: float = 0.0
    steady_items: float = 0.0
    steady_seconds: float = 0.0
    spread: float = UNTESTED_SPREAD
    all_chunks: int = 0
    all_seconds: float = 0.0
    new_items: int = 0
    new_seconds: float = 0.0

    def add(self, items: int, working_seconds: float) -> None:
        """Take in a chunk of `items` that ended when the operation had worked for so long in all."""
        seconds = working_seconds - self.until_seconds
        self.until_seconds = working_seconds
        self.all_chunks += 1
        self.all_seconds += seconds
        self.new_items += items
        self.new_seconds += seconds
        if self.new_seconds >= _SETTLE_SECONDS:
            self._settle()

    @property
    def rate(self) -> float | None:
        """Items a second of work, lately; None while no time was measured."""
        seconds = self.seconds + self.new_seconds
        return (self.items + self.new_items) / seconds if seconds > 0.0 else None

    @property
    def chunk_seconds(self) -> float:
        """Seconds of work from one chunk to the next, on average; 0 before there was one."""
        return self.all_seconds / self.all_chunks if self.all_chunks else 0.0

    def _settle(self) -> None:
        items, seconds, usual = self.new_items, self.new_seconds, self.chunk_seconds
        keep, share = _weights(seconds, max(RECENT_SECONDS, RECENT_CHUNKS * usual))
        self.items = self.items * keep + items * share
        self.seconds = self.seconds * keep + seconds * share
        keep, share = _weights(seconds, max(STEADY_SECONDS, STEADY_CHUNKS * usual))
        self.steady_items = self.steady_items * keep + items * share
        self.steady_seconds = self.steady_seconds * keep + seconds * share
        deviation = log((self.items / self.seconds) / (self.steady_items / self.steady_seconds))
        self.spread = self.spread * keep + deviation * deviation * (1.0 - keep)
        self.new_items, self.new_seconds = 0, 0.0


def _weights(seconds: float, memory_seconds: float) -> tuple[float, float]:
    """What everything before an interval is still worth after it, and what the interval itself is on average."""
    kept = expm1(-seconds / memory_seconds)
    return kept + 1.0, -kept * memory_seconds / seconds
