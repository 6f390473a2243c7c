"""How much may be under way at once, learned from how long things take: an option in place of a guessed bound. Pure.

A gradient limit, after Netflix's concurrency-limits (Gradient2Limit) and TCP Vegas: while requests take as long as they
do without a queue, the limit grows; when they take longer, a queue has formed, and the limit shrinks in proportion. A
little queue is allowed, in which batches form.

What a request takes without a queue is the shortest time seen. Under load there is no moment without a queue, so now
and then, as BBR does, the limit falls to its least for as many requests as are inside, and that time is measured anew:
else a model that has become slower would be taken for a queue for ever.
"""

from dataclasses import dataclass
from math import inf, sqrt
from typing import Final

_SMOOTHING: Final = 0.2  # of a change of the limit
_TOLERANCE: Final = 2.0  # times the shortest time: a request that has to wait for one batch takes twice as long
_BACK_OFF: Final = 0.9  # after a request that was dropped
_PROBE_ROUNDS: Final = 100  # of as many requests as may be inside, after which the shortest time is measured anew
_IDLE_SHARE: Final = 0.5  # of the limit: with less under way, nothing is learned of whether more would fit


@dataclass(frozen=True, slots=True)
class LimitBounds:
    """Between what the limit moves, and where it starts: requests, 1 <= least <= start <= most."""

    least: int = 8
    start: int = 64
    most: int = 16384


class AdaptiveLimit:
    """Feed it every request that ends; it answers with how many may be inside."""

    __slots__ = ("_bounds", "_limit", "_probe_left", "_probe_s", "_samples", "_shortest_s")

    def __init__(self, bounds: LimitBounds) -> None:
        self._bounds = bounds
        self._limit = float(bounds.start)
        self._shortest_s = inf
        self._samples = 0
        self._probe_left = 0
        self._probe_s = inf

    @property
    def limit(self) -> int:
        """How many may be inside at once."""
        return self._bounds.least if self._probe_left else int(self._limit)

    def on_sample(self, rtt_s: float, in_flight: int, *, dropped: bool) -> int:
        """Learn from a request that ends, after ``rtt_s`` seconds inside, with ``in_flight`` inside, itself included.

        ``dropped`` says that it was given up because it took too long. Returns how many may be inside from now on.
        """
        bounds = self._bounds
        if dropped:
            self._limit = max(self._limit * _BACK_OFF, bounds.least)
            return self.limit
        if self._probe_left:
            self._probe(rtt_s)
            return self.limit
        self._shortest_s = min(self._shortest_s, rtt_s)
        self._samples += 1
        if self._samples >= _PROBE_ROUNDS * self._limit:
            self._samples = 0
            self._probe_left = int(self._limit) + 2 * bounds.least
        if in_flight >= self._limit * _IDLE_SHARE and rtt_s > 0.0:
            gradient = min(max(_TOLERANCE * self._shortest_s / rtt_s, 0.5), 1.0)
            wanted = self._limit * gradient + sqrt(self._limit)
            # One sample in a limit's worth: all that are inside at once see the same queue, and must move it once.
            self._limit += (wanted - self._limit) * _SMOOTHING / self._limit
            self._limit = min(max(self._limit, bounds.least), bounds.most)
        return self.limit

    def _probe(self, rtt_s: float) -> None:
        self._probe_s = min(self._probe_s, rtt_s)
        self._probe_left -= 1
        if not self._probe_left:
            self._shortest_s, self._probe_s = self._probe_s, inf

    def __repr__(self) -> str:
        return f"<AdaptiveLimit {self.limit} requests, {self._shortest_s * 1e3:.2f} ms at the least>"
