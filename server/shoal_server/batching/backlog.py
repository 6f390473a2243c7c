"""Which requests form the next batch, and when: the policy, without clock, task or thread.

Requests wait in lanes, one per ``key`` (what may be concatenated has one key; None is a lane of one's own) and, where
lengths vary, per bucket of lengths, whose neighbours ``joining`` lets into a batch where that pays. The oldest request
of all decides which lane goes next, so no lane starves; with priorities or fairness, it is the first by ``Precedence``,
whose order also fills the batch. With a slot free and no delay configured, whatever waits goes at once: batches form
because slots are busy. A delay only ever holds back a batch that is not yet worth dispatching (``preferred_rows``, else
``max_rows``).

No batch is started for a request that would not be answered in time: the forecast refuses it at the door or, where the
line moved more slowly than foreseen, when its turn has come.

Most often whoever comes goes at once, all of them as one batch. So requests of one lane that come while nobody waits
stand aside until the next decision, ``_fresh``: mostly that takes them all, and they were never in the line.

What may share a batch is decided in the key, how much fits in ``_take``, who goes first in ``Precedence``, and how long
it may be held back in ``_choose``, each there and nowhere else.
"""

from collections import OrderedDict
from collections.abc import Iterable
from math import inf
from typing import Generic, NoReturn

from shoal_server.batching.deadlines import Deadlines
from shoal_server.batching.decision import CloseReason, Dispatch, E, Idle, TooLate, WakeAt
from shoal_server.batching.forecast import Forecast
from shoal_server.batching.joining import Buckets, Fitted, Limits, fitted, join
from shoal_server.batching.lane import Lane
from shoal_server.batching.precedence import Precedence
from shoal_server.batching.pressure import Pressure
from shoal_server.errors import Bound, Overloaded
from shoal_server.options import BatchingOptions, FairnessOptions


class Backlog(Generic[E]):
    """The waiting line of one model version. Pure: every answer follows from the calls before and the ``now`` given."""

    def __init__(
        self, options: BatchingOptions, forecast: Forecast | None = None, fairness: FairnessOptions | None = None
    ) -> None:
        """Without a forecast of what batches take, nobody is refused for it; without fairness, callers are all one."""
        self._options = options
        # None where the oldest goes first: the common case costs no more than it must.
        has_order = options.priority_levels > 1 or fairness is not None
        self._precedence: Precedence[E] | None = Precedence(options, fairness) if has_order else None
        self._forecast = forecast or Forecast(options)
        self._delay_s = options.delay_s
        self._worthwhile_rows = min((*options.preferred_rows, options.max_rows))
        self._line: OrderedDict[E, Lane[E]] = OrderedDict()
        self._lanes: dict[tuple[object, ...], Lane[E]] = {}
        self._buckets = Buckets() if options.lengths is not None else None
        self._is_simple = self._precedence is None and self._buckets is None
        # Who goes first has no longer batches before him than they must be.
        presses = self._is_simple and options.pressed_rows > options.max_rows
        self._pressure = Pressure(options, self._forecast) if presses else None
        self._ripe: OrderedDict[Lane[E], None] = OrderedDict()
        self._deadlines: Deadlines[E] = Deadlines()
        self._fresh: list[E] = []  # only while the line is empty, all of one key, and where that is simple
        self._fresh_due_s = inf
        self.rows = 0
        self.cells = 0  # of varying lengths
        self.size_bytes = 0

    @property
    def cost(self) -> int:
        """What waits, in the measure of the forecast."""
        return self.cells or self.rows

    def __len__(self) -> int:
        return len(self._line) + len(self._fresh)

    def __contains__(self, entry: object) -> bool:
        return entry in self._line or entry in self._fresh

    def offer(self, entry: E) -> None:
        """Add a request at the end of the line.

        Raises:
            Overloaded: a bound of the line is reached, or the line is too long for its deadline; nothing was added.
            DeadlineExceeded: the model takes longer than its deadline allows; nothing was added.
        """
        waiting, options = len(self._line) + len(self._fresh), self._options
        if waiting >= options.max_queued_requests or (
            waiting
            and (
                self.rows + entry.rows > options.max_queued_rows
                or self.size_bytes + entry.size_bytes > options.max_queued_bytes
            )
        ):
            self._refuse(entry)
        precedence = self._precedence
        if precedence is not None and precedence.exceeds_share(
            entry,
            options.max_queued_requests - waiting,
            options.max_queued_rows - self.rows,
            options.max_queued_bytes - self.size_bytes,
        ):
            raise Overloaded(
                f"its caller holds its share of the line, in which {waiting} requests with {self.rows} rows wait",
                Bound.SHARE,
                retry_after_s=self._forecast.drain_s(self.cost / 2),
            )
        if entry.arrived_s < self._forecast.trusted_until_s:
            ahead = self.rows if precedence is None else precedence.rows_ahead(entry)
            cost = entry.rows
            if self._buckets is not None:
                ahead, cost = ahead * self.cells // max(self.rows, 1), options.padded(cost) * entry.bucket
            self._forecast.check(entry.arrived_s, cost, ahead, entry.deadline_s, entry.answer_by_s)
        self.add(entry)

    def add(self, entry: E) -> None:
        """Add a request at the end of the line that cannot be refused, as somebody was let in for it before."""
        self.rows += entry.rows
        self.size_bytes += entry.size_bytes
        if entry.key is not None and not self._line and self._is_simple:
            fresh = self._fresh
            if not fresh or fresh[0].key == entry.key:
                fresh.append(entry)
                if entry.deadline_s < self._fresh_due_s:  # noqa: PLR1730 - a call of min costs more than the rest of it
                    self._fresh_due_s = entry.deadline_s
                return
        if self._buckets is not None:
            self.cells += entry.rows * entry.bucket
        self._line_up()
        self._enter(entry)

    def _line_up(self) -> None:
        """Put those into the line who stood aside."""
        if self._fresh:
            fresh, self._fresh, self._fresh_due_s = self._fresh, [], inf
            for entry in fresh:
                self._enter(entry)

    def _enter(self, entry: E) -> None:
        lane = self._lane_of(entry)
        if self._precedence is not None:
            self._precedence.add(entry, lane)
        lane.entries[entry] = self._deadlines.add(entry)
        lane.rows += entry.rows
        self._line[entry] = lane
        if (
            lane.key is None
            or lane.rows >= self._worthwhile_rows
            or (lane.bucket and lane.cells >= self._forecast.full_cost)
        ):
            self._ripe[lane] = None

    def withdraw(self, entry: E) -> bool:
        """Take a request out of the line; return False where it does not wait here."""
        self._line_up()
        if entry not in self._line:
            return False
        self._remove(entry)
        return True

    def expire(self, now: float) -> list[E]:
        """Take out and return every request whose deadline has come."""
        if self._fresh_due_s <= now:
            self._line_up()
        expired = []
        while (entry := self._deadlines.due(now)) is not None:
            self._remove(entry)
            expired.append(entry)
        return expired

    def next(self, now: float, free_slots: int, *, shared: bool = False) -> Dispatch[E] | TooLate[E] | WakeAt | Idle:
        """Decide: a batch to run now, who is too late, a time to ask again, or nothing to do.

        First ``expire`` with this ``now``. ``shared``: other models want the slots as well, so none is to be kept long.
        """
        if self._fresh:
            if free_slots > 0 and self._all_go(now):
                return self._take_fresh()
            self._line_up()
        due_s = self._deadlines.first_s()
        if due_s is None:
            return Idle()
        if free_slots <= 0:
            return WakeAt(due_s)
        chosen = self._choose(now)
        if isinstance(chosen, WakeAt):
            return WakeAt(min(chosen.at_s, due_s))
        lane, mature = chosen
        limit = self._options.max_rows
        if self._pressure is not None and not shared and len(lane.entries) == len(self._line):
            limit = self._pressure.limit(lane.rows, now, due_s)
        return self._take(lane, now, limit, mature=mature)

    def deserted(self) -> None:
        """Note that somebody left a batch under way: in the line he would have cost nothing."""
        if self._pressure is not None:
            self._pressure.begin_anew()

    def hurry(self) -> None:
        """Hold nothing back from now on."""
        self._delay_s = 0.0

    def drain(self) -> list[E]:
        """Take out and return everything, in order."""
        self._line_up()
        entries = list(self._line)
        for entry in entries:
            self._remove(entry)
        return entries

    def _all_go(self, now: float) -> bool:
        """Whether all who stand aside are one batch, to run now, in which nobody is late."""
        if self._delay_s or self.rows > self._options.max_rows:
            return False
        end_s = now + self._forecast.safe_execution_s(now, self.rows)
        return min([entry.answer_by_s for entry in self._fresh]) >= end_s

    def _take_fresh(self) -> Dispatch[E]:
        reason = CloseReason.FULL if self.rows >= self._options.max_rows else CloseReason.SLOT_FREE
        dispatch = Dispatch(tuple(self._fresh), self.rows, reason)
        if self._pressure is not None:
            self._pressure.dispatched(leaves=False)
        self._fresh, self._fresh_due_s = [], inf
        self.rows = self.size_bytes = 0
        return dispatch

    def _choose(self, now: float) -> tuple[Lane[E], bool] | WakeAt:
        """Return the lane to go next and whether its delay is over, or until when all are held back."""
        head = next(iter(self._line))
        ripe_at = head.arrived_s + self._delay_s
        if ripe_at <= now:
            return self._line[head if self._precedence is None else self._precedence.first()], True
        if self._ripe:
            return next(iter(self._ripe)), False
        return WakeAt(ripe_at)

    def _refuse(self, entry: E) -> NoReturn:
        """Say which bound is reached."""
        waiting, options = len(self), self._options
        if waiting >= options.max_queued_requests:
            bound = Bound.REQUESTS
            problem = f"{waiting} requests are waiting, the bound is {options.max_queued_requests}"
        elif self.rows + entry.rows > options.max_queued_rows:
            bound = Bound.ROWS
            problem = f"{self.rows} rows are waiting, {entry.rows} more exceed {options.max_queued_rows}"
        else:
            bound = Bound.BYTES
            problem = f"{self.size_bytes} bytes are waiting, {entry.size_bytes} more exceed {options.max_queued_bytes}"
        raise Overloaded(problem, bound, retry_after_s=self._forecast.drain_s(self.cost / 2))

    def _take(self, lane: Lane[E], now: float, limit: int, *, mature: bool) -> Dispatch[E] | TooLate[E]:
        """Take from the lane's front what fits. The first always fits: what exceeds the limit runs alone.

        Who would be late in the batch as planned shortens it, unless more wait than it can hold: then there is no time
        to lose for the many, and he is late. So is everybody who could not be answered in time even alone.
        """
        if not mature:
            limit = max((size for size in self._options.preferred_rows if size <= lane.rows), default=limit)
        fit = self._fitting if self._buckets is None else self._joined
        taken, rows, reason, late, cells = fit(lane, now, limit)
        if late:
            for entry in late:
                self._remove(entry)
            return TooLate(tuple(late))
        if lane.key is None:
            reason = CloseReason.ALONE
        elif reason is None:
            reason = CloseReason.DELAY_OVER if self._delay_s and mature else CloseReason.SLOT_FREE
        if self._precedence is not None:
            self._precedence.charge(taken)
        for entry in taken:
            self._remove(entry)
        if self._pressure is not None:
            self._pressure.dispatched(leaves=bool(self._line))
        return Dispatch(tuple(taken), rows, reason, cells)

    def _fitting(self, lane: Lane[E], now: float, limit: int) -> Fitted[E]:
        """Return who fits into a batch of ``limit`` rows, their rows, why no more if anything does, and who is late."""
        forecast = self._forecast
        crowded = lane.rows > limit
        planned_end_s = now + forecast.safe_execution_s(now, min(lane.rows, limit))
        full = CloseReason.FULL
        taken: list[E] = []
        late: list[E] = []
        rows = 0
        for entry in lane.entries if self._precedence is None else self._precedence.order(lane):
            if entry.answer_by_s < planned_end_s or entry.rows > limit:
                planned = crowded and entry.rows <= limit
                if entry.answer_by_s < (planned_end_s if planned else now + forecast.safe_execution_s(now, entry.rows)):
                    late.append(entry)
                    continue
            if entry.answer_by_s < planned_end_s:
                limit, full = min(limit, forecast.rows_within(entry.answer_by_s - now)), CloseReason.DEADLINE
            if taken and rows + entry.rows > limit:
                return Fitted(taken, rows, full, late)
            taken.append(entry)
            rows += entry.rows
        return Fitted(taken, rows, CloseReason.FULL if rows >= limit and full is CloseReason.FULL else None, late)

    def _joined(self, lane: Lane[E], now: float, limit: int) -> Fitted[E]:
        """Return the same where lengths vary."""
        precedence, key = self._precedence, lane.key

        def waiting(bucket: int) -> Iterable[E]:
            there = lane if bucket == lane.bucket or key is None else self._lanes[key, bucket]
            return there.entries if precedence is None else precedence.order(there)

        buckets = [lane.bucket] if key is None or self._buckets is None else self._buckets[key]
        limits = Limits.of(self._forecast, limit, self._options.padded)
        return fitted(join(buckets, lane.bucket, waiting, limits), self._forecast, now)

    def _lane_of(self, entry: E) -> Lane[E]:
        key, buckets = entry.key, self._buckets
        if key is None:
            return Lane(None, entry.bucket)
        name = key if buckets is None else (key, entry.bucket)
        lane = self._lanes.get(name)
        if lane is None:
            lane = self._lanes[name] = Lane(key, entry.bucket)
            if buckets is not None:
                buckets.add(key, entry.bucket)
        return lane

    def _remove(self, entry: E) -> None:
        lane = self._line.pop(entry)
        if self._precedence is not None:
            self._precedence.remove(entry, lane)
        self._deadlines.remove(lane.entries.pop(entry))
        lane.rows -= entry.rows
        self.rows -= entry.rows
        self.size_bytes -= entry.size_bytes
        if self._buckets is not None:
            self.cells -= entry.rows * entry.bucket
        if not lane.entries:
            self._ripe.pop(lane, None)
            if lane.key is not None:
                if self._buckets is None:
                    del self._lanes[lane.key]
                else:
                    del self._lanes[lane.key, lane.bucket]
                    self._buckets.remove(lane.key, lane.bucket)
        elif lane.rows < self._worthwhile_rows and not (lane.bucket and lane.cells >= self._forecast.full_cost):
            self._ripe.pop(lane, None)

    def __repr__(self) -> str:
        return f"<Backlog {len(self)} requests, {self.rows} rows in {len(self._lanes)} lanes>"
