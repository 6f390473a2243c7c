"""How much may be under way at once, learned from how long things take: an option in place of a guessed bound. Pure.

A gradient limit, after Netflix's concurrency-limits (Gradient2Limit) and TCP Vegas: while requests take as long as they
do without a queue, the limit grows; when they take longer, a queue has formed, and the limit shrinks in proportion. The
shortest time of the recent past stands for "without a queue", and is let grow slowly, so that a model which has become
slower is not taken for a queue for ever. A little queue is allowed, in which batches form.
"""

from dataclasses import dataclass
from math import sqrt
from typing import Final

_SMOOTHING: Final = 0.2  # of a change of the limit
_TOLERANCE: Final = 2.0  # times the shortest time: a request that has to wait for one batch takes twice as long
_BACK_OFF: Final = 0.9  # after a request that was dropped
_FORGET: Final = 1.001  # per sample: the shortest time grows by half within 400
_IDLE_SHARE: Final = 0.5  # of the limit: with less under way, nothing is learned of whether more would fit


@dataclass(frozen=True, slots=True)
class LimitBounds:
    """Between what the limit moves, and where it starts: requests, 1 <= least <= start <= most."""

    least: int = 8
    start: int = 64
    most: int = 16384


class AdaptiveLimit:
    """Feed it every request that ends; it answers with how many may be inside."""

    __slots__ = ("_bounds", "_limit", "_shortest_s")

    def __init__(self, bounds: LimitBounds) -> None:
        self._bounds = bounds
        self._limit = float(bounds.start)
        self._shortest_s = 0.0

    @property
    def limit(self) -> int:
        """How many may be inside at once."""
        return int(self._limit)

    def on_sample(self, rtt_s: float, in_flight: int, *, dropped: bool) -> int:
        """Learn from a request that ends, after ``rtt_s`` seconds inside, with ``in_flight`` inside, itself included.

        ``dropped`` says that it was given up because it took too long.
        """
        bounds = self._bounds
        if dropped:
            self._limit = max(self._limit * _BACK_OFF, bounds.least)
            return self.limit
        if not self._shortest_s or rtt_s < self._shortest_s:
            self._shortest_s = rtt_s
        else:
            self._shortest_s = min(self._shortest_s * _FORGET, rtt_s)
        if in_flight < self._limit * _IDLE_SHARE:
            return self.limit
        gradient = min(max(_TOLERANCE * self._shortest_s / rtt_s, 0.5), 1.0) if rtt_s > 0.0 else 1.0
        wanted = self._limit * gradient + sqrt(self._limit)
        # One sample in a limit's worth: all that are inside at once see the same queue, and must move it once.
        self._limit += (wanted - self._limit) * _SMOOTHING / max(self._limit, 1.0)
        self._limit = min(max(self._limit, bounds.least), bounds.most)
        return self.limit

    def __repr__(self) -> str:
        return f"<AdaptiveLimit {self.limit} requests, {self._shortest_s * 1e3:.2f} ms at the least>"
