"""Who goes first where that is not simply the oldest: priorities that age, and fairness between callers. Pure.

Within one caller's requests a priority is a head start: a request of level p goes as if it had come ``(p - 1) *
aging_s`` later than it did. So a more important request overtakes, and the least important of L levels is overtaken by
nobody who comes more than ``(L - 1) * aging_s`` after it: that, and what is before it by then, bounds its wait.

Between callers it is start-time fair queueing (Goyal, Vin, Cheng 1996): each has a tag that grows by the rows it is
served, divided by its weight, and the lowest tag goes next. Two callers who both always wait are served rows in
proportion to their weights, at any time within the largest request of either (and one batch, where not all that waits
may share one). A caller who was quiet has saved up the rows of two full batches for a weight of 1: as many of his are
next. Else the second of two requests of his that came together would take turns with those of one who floods. A
priority moves a caller's own requests only: else whoever called all that he sends important would starve the others.
Without fairness all requests are one caller's.
"""

import heapq
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Iterator
from itertools import count
from math import inf
from typing import Final, Generic, Protocol, TypeVar

from shoal_server.options import BatchingOptions, FairnessOptions

_SAVED_BATCHES: Final = 2
_MOST_REMEMBERED: Final = 1024
"""Callers who have nothing in the line and have not been quiet since they were served."""


class Ranked(Protocol):
    """What decides about precedence. ``priority`` counts from 1, the most important."""

    rows: int
    size_bytes: int
    arrived_s: float

    @property
    def priority(self) -> int:
        """From 1 to the number of levels."""
        ...

    @property
    def caller(self) -> str:
        """Who asks; empty where nobody knows."""
        ...


E = TypeVar("E", bound=Ranked)


class _Flow(Generic[E]):
    """What one caller has in the line."""

    __slots__ = ("levels", "number", "requests", "rows", "rows_by_level", "size_bytes", "tag", "weight")

    def __init__(self, levels: int, weight: float, tag: float, number: int) -> None:
        self.levels: list[OrderedDict[E, None]] = [OrderedDict() for _ in range(levels)]
        self.rows_by_level = [0] * levels
        self.weight = weight
        self.tag = tag
        self.number = number  # decides between equal tags
        self.requests = 0
        self.rows = 0
        self.size_bytes = 0


class Precedence(Generic[E]):
    """The order of a backlog's requests. A lane is whatever names what may share a batch."""

    def __init__(self, options: BatchingOptions, fairness: FairnessOptions | None) -> None:
        self._levels = max(options.priority_levels, 1)
        self._aging_s = options.aging_s
        self._fairness = fairness
        self._saved_rows = _SAVED_BATCHES * options.max_rows
        self._flows: dict[str, _Flow[E]] = {}
        self._lanes: dict[Hashable, dict[str, list[OrderedDict[E, None]]]] = {}
        self._remembered: dict[str, float] = {}
        self._weights = 0.0
        self._rows = 0
        self._served_tag = 0.0
        self._numbers = count()

    def add(self, entry: E, lane: Hashable) -> None:
        """Take in a request that came after all others."""
        name = entry.caller if self._fairness is not None else ""
        flow = self._flows.get(name)
        if flow is None:
            weight = self._fairness.weight_of(name) if self._fairness is not None else 1.0
            tag = max(self._quiet_tag(), self._remembered.pop(name, -inf))
            flow = self._flows[name] = _Flow(self._levels, weight, tag, next(self._numbers))
            self._weights += weight
        level = entry.priority - 1
        flow.levels[level][entry] = None
        flow.rows_by_level[level] += entry.rows
        flow.requests += 1
        flow.rows += entry.rows
        flow.size_bytes += entry.size_bytes
        self._rows += entry.rows
        shares = self._lanes.setdefault(lane, {})
        if name not in shares:
            shares[name] = [OrderedDict() for _ in range(self._levels)]
        shares[name][level][entry] = None

    def remove(self, entry: E, lane: Hashable) -> None:
        """Let a request go, however it leaves."""
        name = entry.caller if self._fairness is not None else ""
        flow, level = self._flows[name], entry.priority - 1
        del flow.levels[level][entry]
        flow.rows_by_level[level] -= entry.rows
        flow.requests -= 1
        flow.rows -= entry.rows
        flow.size_bytes -= entry.size_bytes
        self._rows -= entry.rows
        shares = self._lanes[lane]
        del shares[name][level][entry]
        if not any(shares[name]):
            del shares[name]
            if not shares:
                del self._lanes[lane]
        if not flow.requests:
            del self._flows[name]
            self._weights -= flow.weight
            self._remember(name, flow.tag)

    def first(self) -> E:
        """Return who goes next, of all lanes."""
        flow = min(self._flows.values(), key=lambda flow: (flow.tag, flow.number))
        return next(self._by_rank(flow.levels))

    def order(self, lane: Hashable) -> Iterator[E]:
        """Yield a lane's requests as they are to be served. Nothing may change meanwhile."""
        shares = self._lanes[lane]
        turns = [
            (flow.tag, flow.number, flow.weight, self._by_rank(levels))
            for name, levels in shares.items()
            for flow in (self._flows[name],)
        ]
        heapq.heapify(turns)
        while turns:
            tag, number, weight, entries = turns[0]
            entry = next(entries, None)
            if entry is None:
                heapq.heappop(turns)
            else:
                yield entry
                heapq.heapreplace(turns, (tag + max(entry.rows, 1) / weight, number, weight, entries))

    def charge(self, entries: Iterable[E]) -> None:
        """Note that these, who are still here, are served now, in this order."""
        for entry in entries:
            flow = self._flows[entry.caller if self._fairness is not None else ""]
            self._served_tag = max(self._served_tag, flow.tag)
            flow.tag += max(entry.rows, 1) / flow.weight

    def rows_ahead(self, entry: E) -> int:
        """Return how many rows are surely served before a request that comes now."""
        flow = self._flows.get(entry.caller if self._fairness is not None else "")
        if flow is None:
            return 0  # its turn is next
        own, weight = sum(flow.rows_by_level[: entry.priority]), flow.weight
        # Once what it has saved up is served, each other caller gets as much for its weight, if it has that.
        shared = max(0.0, own - max(0.0, self._served_tag - flow.tag) * weight)
        return own + min(self._rows - flow.rows, int(shared * (self._weights - weight) / weight))

    def exceeds_share(self, entry: E, free_requests: int, free_rows: int, free_bytes: int) -> bool:
        """Whether its caller would hold more of the line than it leaves free.

        So one caller who floods gets half of the line, two get a third each, and there is always room for another.
        """
        flow = self._flows.get(entry.caller) if self._fairness is not None else None
        return flow is not None and (
            flow.requests >= free_requests
            or flow.rows + entry.rows > free_rows
            or flow.size_bytes + entry.size_bytes > free_bytes
        )

    def _by_rank(self, levels: list[OrderedDict[E, None]]) -> Iterator[E]:
        if len(levels) == 1:
            return iter(levels[0])
        return heapq.merge(*levels, key=lambda entry: entry.arrived_s + (entry.priority - 1) * self._aging_s)

    def _quiet_tag(self) -> float:
        """Return the tag of one who was quiet for long."""
        return self._served_tag - self._saved_rows

    def _remember(self, name: str, tag: float) -> None:
        """Keep the tag of a caller who has left the line, so that leaving it for a moment saves nothing up."""
        if not self._flows:
            self._remembered.clear()
            return
        if tag <= self._quiet_tag():
            return
        self._remembered[name] = tag
        if len(self._remembered) > _MOST_REMEMBERED:
            owing = {name: tag for name, tag in self._remembered.items() if tag > self._quiet_tag()}
            while len(owing) > _MOST_REMEMBERED // 2:
                del owing[next(iter(owing))]
            self._remembered = owing
