"""Which requests form the next batch, and when: the policy, without clock, task or thread.

Requests wait in lanes, one per ``key`` (what may be concatenated has one key; None is a lane of one's own). The oldest
request of all decides which lane goes next, so no lane starves. With a slot free and no delay configured, whatever
waits goes at once: batches form because slots are busy. A delay only ever holds back a batch that is not yet worth
dispatching (``preferred_rows``, else ``max_rows``).

Each further question has its place here and nowhere else: what may share a batch in the key, how much fits in
``_take``, who goes first and how long it may be held back in ``_choose``.
"""

import heapq
from collections import OrderedDict
from enum import Enum
from itertools import count
from typing import Generic, NamedTuple, Protocol, TypeVar

from shoal_server.errors import Bound, Overloaded
from shoal_server.options import BatchingOptions


class Entry(Protocol):
    """What the policy needs to know of a request; times are monotonic seconds."""

    rows: int
    size_bytes: int
    key: tuple[object, ...] | None
    arrived_s: float
    deadline_s: float


E = TypeVar("E", bound=Entry)


class CloseReason(Enum):
    """Why a batch took no more."""

    FULL = "full"
    DELAY_OVER = "delay_over"
    SLOT_FREE = "slot_free"
    ALONE = "alone"


class Dispatch(NamedTuple, Generic[E]):
    """Run these now, as one batch of ``rows`` rows."""

    entries: tuple[E, ...]
    rows: int
    reason: CloseReason


class WakeAt(NamedTuple):
    """Nothing to do before that time, unless something changes."""

    at_s: float


class Idle(NamedTuple):
    """Nothing waits."""


class _Lane(Generic[E]):
    __slots__ = ("entries", "key", "rows")

    def __init__(self, key: tuple[object, ...] | None) -> None:
        self.key = key
        self.entries: OrderedDict[E, int] = OrderedDict()  # each with its number
        self.rows = 0


class Backlog(Generic[E]):
    """The waiting line of one model version. Pure: every answer follows from the calls before and the ``now`` given."""

    def __init__(self, options: BatchingOptions) -> None:
        self._options = options
        self._delay_s = options.delay_s
        self._worthwhile_rows = min((*options.preferred_rows, options.max_rows))
        self._line: OrderedDict[E, _Lane[E]] = OrderedDict()
        self._by_number: dict[int, E] = {}
        self._lanes: dict[tuple[object, ...], _Lane[E]] = {}
        self._ripe: OrderedDict[_Lane[E], None] = OrderedDict()
        # Numbers, not entries: who has left stays in the heap for a while, and must not keep a request's bytes there.
        self._deadlines: list[tuple[float, int]] = []
        self._numbers = count()
        self.rows = 0
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._line)

    def offer(self, entry: E) -> None:
        """Add a request at the end of the line.

        Raises:
            Overloaded: a bound of the line is reached; nothing was added.
        """
        options = self._options
        if len(self._line) >= options.max_queued_requests:
            waiting = f"{len(self._line)} requests are waiting, the bound is {options.max_queued_requests}"
            raise Overloaded(waiting, Bound.REQUESTS)
        if self._line and self.rows + entry.rows > options.max_queued_rows:
            waiting = f"{self.rows} rows are waiting, {entry.rows} more exceed {options.max_queued_rows}"
            raise Overloaded(waiting, Bound.ROWS)
        if self._line and self.size_bytes + entry.size_bytes > options.max_queued_bytes:
            waiting = f"{self.size_bytes} bytes are waiting, {entry.size_bytes} more exceed {options.max_queued_bytes}"
            raise Overloaded(waiting, Bound.BYTES)
        lane = self._lane_of(entry)
        number = next(self._numbers)
        lane.entries[entry] = number
        lane.rows += entry.rows
        self._line[entry] = lane
        self._by_number[number] = entry
        self.rows += entry.rows
        self.size_bytes += entry.size_bytes
        if len(self._deadlines) > 64 + 2 * len(self._line):
            self._forget_the_gone()
        heapq.heappush(self._deadlines, (entry.deadline_s, number))
        if lane.key is None or lane.rows >= self._worthwhile_rows:
            self._ripe[lane] = None

    def withdraw(self, entry: E) -> bool:
        """Take a request out of the line; return False where it does not wait here."""
        if entry not in self._line:
            return False
        self._remove(entry)
        return True

    def expire(self, now: float) -> list[E]:
        """Take out and return every request whose deadline has come."""
        expired = []
        while (due := self._next_deadline()) is not None and due <= now:
            entry = self._by_number[heapq.heappop(self._deadlines)[1]]
            self._remove(entry)
            expired.append(entry)
        return expired

    def next(self, now: float, free_slots: int) -> Dispatch[E] | WakeAt | Idle:
        """Decide: a batch to run now, a time to ask again, or nothing to do. First ``expire`` with this ``now``."""
        due = self._next_deadline()
        if due is None:
            return Idle()
        if free_slots <= 0:
            return WakeAt(due)
        chosen = self._choose(now)
        if isinstance(chosen, WakeAt):
            return WakeAt(min(chosen.at_s, due))
        lane, mature = chosen
        return self._take(lane, mature=mature)

    def hurry(self) -> None:
        """Hold nothing back from now on."""
        self._delay_s = 0.0

    def drain(self) -> list[E]:
        """Take out and return everything, in order."""
        entries = list(self._line)
        for entry in entries:
            self._remove(entry)
        return entries

    def _choose(self, now: float) -> tuple[_Lane[E], bool] | WakeAt:
        """Return the lane to go next and whether its delay is over, or until when all are held back."""
        head = next(iter(self._line))
        ripe_at = head.arrived_s + self._delay_s
        if ripe_at <= now:
            return self._line[head], True
        if self._ripe:
            return next(iter(self._ripe)), False
        return WakeAt(ripe_at)

    def _take(self, lane: _Lane[E], *, mature: bool) -> Dispatch[E]:
        """Take from the lane's front what fits. The first always fits: what exceeds ``max_rows`` runs alone."""
        limit = self._options.max_rows
        if not mature:
            limit = max((size for size in self._options.preferred_rows if size <= lane.rows), default=limit)
        taken: list[E] = []
        rows = 0
        reason = CloseReason.DELAY_OVER if self._delay_s and mature else CloseReason.SLOT_FREE
        for entry in lane.entries:
            if taken and rows + entry.rows > limit:
                reason = CloseReason.FULL
                break
            taken.append(entry)
            rows += entry.rows
        if lane.key is None:
            reason = CloseReason.ALONE
        elif rows >= limit:
            reason = CloseReason.FULL
        for entry in taken:
            self._remove(entry)
        return Dispatch(tuple(taken), rows, reason)

    def _lane_of(self, entry: E) -> _Lane[E]:
        if entry.key is None:
            return _Lane(None)
        lane = self._lanes.get(entry.key)
        if lane is None:
            lane = self._lanes[entry.key] = _Lane(entry.key)
        return lane

    def _remove(self, entry: E) -> None:
        lane = self._line.pop(entry)
        del self._by_number[lane.entries.pop(entry)]
        lane.rows -= entry.rows
        self.rows -= entry.rows
        self.size_bytes -= entry.size_bytes
        if not lane.entries:
            self._ripe.pop(lane, None)
            if lane.key is not None:
                del self._lanes[lane.key]
        elif lane.rows < self._worthwhile_rows:
            self._ripe.pop(lane, None)

    def _forget_the_gone(self) -> None:
        """Drop the deadlines of those who left, however they left, so that the heap stays in proportion to the line."""
        self._deadlines = [item for item in self._deadlines if item[1] in self._by_number]
        heapq.heapify(self._deadlines)

    def _next_deadline(self) -> float | None:
        """Return the earliest deadline of those who wait, dropping those who left from the heap's top."""
        deadlines = self._deadlines
        while deadlines:
            if deadlines[0][1] in self._by_number:
                return deadlines[0][0]
            heapq.heappop(deadlines)
        return None

    def __repr__(self) -> str:
        return f"<Backlog {len(self)} requests, {self.rows} rows in {len(self._lanes)} lanes>"
