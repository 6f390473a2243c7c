"""Counts per bucket, in plain lists: what the hot path adds to and exporters read at their interval."""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final, NamedTuple

_FINE_S: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025)
_RPC_S: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
SECONDS: Final = (*_FINE_S, *_RPC_S)
"""Bounds for durations: OpenTelemetry's for RPCs (semantic conventions, rpc.server.call.duration) and finer below."""
ROWS: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)
"""Bounds for rows of a batch."""


class Buckets(NamedTuple):
    """What a histogram has counted: ``counts[i]`` lie in (bounds[i - 1], bounds[i]], the last above all bounds."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float

    @property
    def size(self) -> int:
        """How many values in all."""
        return sum(self.counts)

    def plus(self, other: "Buckets") -> "Buckets":
        """Return what both have counted; their bounds are the same."""
        assert self.bounds == other.bounds, "only histograms of one kind are summed"
        counts = tuple([a + b for a, b in zip(self.counts, other.counts, strict=True)])
        return Buckets(self.bounds, counts, self.total + other.total)


class Histogram:
    """Cumulative since it was made. One thread writes; a reader may see a value that is counted and not yet summed."""

    __slots__ = ("_counts", "_total", "bounds")

    def __init__(self, bounds: Sequence[float]) -> None:
        """Take the ascending upper bounds of all buckets but the last, which has none."""
        self.bounds = tuple(bounds)
        self._counts = [0] * (len(bounds) + 1)
        self._total = 0.0

    def add(self, value: float, count: int = 1) -> None:
        """Count a value, ``count`` times."""
        self._counts[bisect_left(self.bounds, value)] += count
        self._total += value * count

    def add_all(self, values: Sequence[float]) -> None:
        """Count each value once: half the price of ``add`` for each."""
        counts, bounds = self._counts, self.bounds
        for value in values:
            counts[bisect_left(bounds, value)] += 1
        self._total += sum(values)

    def read(self) -> Buckets:
        """Return what was counted so far."""
        return Buckets(self.bounds, tuple(self._counts), self._total)
