"""The backlog against a naive list-based reading of the same policy, under any sequence of calls."""

from dataclasses import dataclass
from math import inf

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from shoal_server.batching.backlog import Backlog
from shoal_server.batching.decision import CloseReason, Dispatch, Idle, WakeAt
from shoal_server.errors import Overloaded
from shoal_server.options import BatchingOptions
from shoal_testing.machines import run_for_long, run_quickly

Key = tuple[object, ...] | None
KEYS: list[Key] = [("a",), ("b",), ("c", 1), None]


@dataclass(eq=False)
class Entry:
    rows: int
    size_bytes: int
    key: Key
    arrived_s: float
    deadline_s: float
    answer_by_s: float = inf
    priority: int = 1
    caller: str = ""
    bucket: int = 0


class NaiveBacklog:
    """One list in order of arrival; everything is looked up anew each time."""

    def __init__(self, options: BatchingOptions) -> None:
        self.options = options
        self.worthwhile = min([*options.preferred_rows, options.max_rows])
        self.waiting: list[Entry] = []
        self.leaving = 0
        """Batches in a row that left somebody waiting."""
        self.ripe: list[Entry | Key] = []
        """Lanes worth dispatching, in the order in which they became so: a key, or the entry that is its own lane."""

    def lane(self, entry: Entry) -> list[Entry]:
        return [entry] if entry.key is None else [other for other in self.waiting if other.key == entry.key]

    def refresh(self) -> None:
        """Bring the list of ripe lanes up to date after a change."""
        now: list[Entry | Key] = []
        for entry in self.waiting:
            name = entry if entry.key is None else entry.key
            worth = entry.key is None or sum(other.rows for other in self.lane(entry)) >= self.worthwhile
            if worth and name not in now:
                now.append(name)
        self.ripe = [name for name in self.ripe if name in now]
        self.ripe += [name for name in now if name not in self.ripe]

    def fits(self, entry: Entry) -> bool:
        options, waiting = self.options, self.waiting
        if len(waiting) >= options.max_queued_requests:
            return False
        return not waiting or (
            sum(other.rows for other in waiting) + entry.rows <= options.max_queued_rows
            and sum(other.size_bytes for other in waiting) + entry.size_bytes <= options.max_queued_bytes
        )

    def limit(self, lane: list[Entry], *, shared: bool) -> int:
        options = self.options
        if shared or self.leaving < options.pressed_after or any(entry not in lane for entry in self.waiting):
            return options.max_rows
        return max(options.max_rows, min(sum(entry.rows for entry in lane), options.pressed_rows))

    def decide(self, now: float, free_slots: int, *, shared: bool) -> tuple[list[Entry], CloseReason] | float | None:
        """Return the next batch, the time to ask again, or None."""
        if not self.waiting:
            return None
        due = min(entry.deadline_s for entry in self.waiting)
        if free_slots <= 0:
            return due
        head, delay_s = self.waiting[0], self.options.delay_s
        mature = head.arrived_s + delay_s <= now
        if mature:
            lane = self.lane(head)
        elif self.ripe:
            name = self.ripe[0]
            lane = [name] if isinstance(name, Entry) else [entry for entry in self.waiting if entry.key == name]
        else:
            return min(head.arrived_s + delay_s, due)
        limit = self.limit(lane, shared=shared)
        if not mature:
            reached = [size for size in self.options.preferred_rows if size <= sum(entry.rows for entry in lane)]
            limit = max(reached) if reached else limit
        batch = [lane[0]]
        for entry in lane[1:]:
            if sum(other.rows for other in batch) + entry.rows > limit:
                break
            batch.append(entry)
        full = len(batch) < len(lane) or sum(entry.rows for entry in batch) >= limit
        if lane[0].key is None:
            return batch, CloseReason.ALONE
        if full:
            return batch, CloseReason.FULL
        return batch, CloseReason.DELAY_OVER if delay_s and mature else CloseReason.SLOT_FREE


class BacklogMachine(RuleBasedStateMachine):
    """Whatever the calls, the backlog and its naive reading agree."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.ever: list[Entry] = []

    @initialize(
        max_rows=st.integers(1, 8),
        pressed=st.sampled_from([0, 0, 2, 4]),
        pressed_after=st.integers(1, 3),
        delay_s=st.sampled_from([0.0, 0.0, 0.5, 2.0]),
        preferred=st.sets(st.integers(1, 8), max_size=2),
        requests=st.integers(1, 12),
        rows=st.integers(1, 30),
        size_bytes=st.integers(1, 100),
    )
    def begin(  # noqa: PLR0913 - the options
        self,
        *,
        max_rows: int,
        pressed: int,
        pressed_after: int,
        delay_s: float,
        preferred: set[int],
        requests: int,
        rows: int,
        size_bytes: int,
    ) -> None:
        options = BatchingOptions(
            max_rows=max_rows,
            pressed_rows=pressed * max_rows,
            pressed_after=pressed_after,
            delay_s=delay_s,
            preferred_rows=tuple(sorted(size for size in preferred if size <= max_rows)),
            max_queued_requests=requests,
            max_queued_rows=rows,
            max_queued_bytes=size_bytes,
        )
        self.backlog: Backlog[Entry] = Backlog(options)
        self.naive = NaiveBacklog(options)

    @rule(
        rows=st.integers(0, 10),
        size_bytes=st.integers(0, 30),
        key=st.sampled_from(KEYS),
        patience_s=st.sampled_from([0.1, 0.5, 1.0, 3.0, 100.0]),
    )
    def offer(self, rows: int, size_bytes: int, key: Key, patience_s: float) -> None:
        entry = Entry(rows if key is None else max(rows, 1), size_bytes, key, self.now, self.now + patience_s)
        if self.naive.fits(entry):
            self.backlog.offer(entry)
            self.naive.waiting.append(entry)
        else:
            with pytest.raises(Overloaded):
                self.backlog.offer(entry)
        self.ever.append(entry)
        self.naive.refresh()

    @precondition(lambda self: self.ever)
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        entry = data.draw(st.sampled_from(self.ever))
        waits = entry in self.naive.waiting
        assert self.backlog.withdraw(entry) == waits
        if waits:
            self.naive.waiting.remove(entry)
        self.naive.refresh()

    @rule(passed_s=st.sampled_from([0.0, 0.1, 0.4, 0.5, 1.0, 10.0]))
    def let_time_pass(self, passed_s: float) -> None:
        self.now += passed_s
        due = [entry for entry in self.naive.waiting if entry.deadline_s <= self.now]
        assert self.backlog.expire(self.now) == sorted(due, key=lambda entry: entry.deadline_s)
        self.naive.waiting = [entry for entry in self.naive.waiting if entry not in due]
        self.naive.refresh()

    @rule()
    def desert(self) -> None:
        self.backlog.deserted()
        self.naive.leaving = 0

    @rule(free_slots=st.integers(0, 2), shared=st.booleans())
    def decide(self, free_slots: int, *, shared: bool) -> None:
        self.let_time_pass(0.0)
        expected = self.naive.decide(self.now, free_slots, shared=shared)
        decision = self.backlog.next(self.now, free_slots, shared=shared)
        if expected is None:
            assert decision == Idle()
        elif isinstance(expected, float):
            assert decision == WakeAt(expected)
            assert expected > self.now, "to be woken at once and for ever"
        else:
            batch, reason = expected
            assert decision == Dispatch(tuple(batch), sum(entry.rows for entry in batch), reason)
            self.naive.waiting = [entry for entry in self.naive.waiting if entry not in batch]
            self.naive.leaving = self.naive.leaving + 1 if self.naive.waiting else 0
            self.naive.refresh()

    @rule()
    def dispatch_all(self) -> None:
        for _ in range(len(self.naive.waiting) + 1):
            self.decide(1, shared=False)

    @precondition(lambda self: len(self.naive.waiting) > 6)
    @rule()
    def drain(self) -> None:
        assert self.backlog.drain() == self.naive.waiting
        self.naive.waiting = []
        self.naive.refresh()

    @invariant()
    def counts_agree(self) -> None:
        if not hasattr(self, "backlog"):
            return
        waiting = self.naive.waiting
        assert len(self.backlog) == len(waiting)
        assert self.backlog.rows == sum(entry.rows for entry in waiting)
        assert self.backlog.size_bytes == sum(entry.size_bytes for entry in waiting)


def test_the_backlog_decides_as_a_naive_reading_of_its_policy() -> None:
    run_quickly(BacklogMachine, examples=60, steps=40)


@pytest.mark.slow
def test_the_backlog_decides_as_a_naive_reading_of_its_policy_for_long() -> None:
    run_for_long(BacklogMachine, examples=1000, steps=100)
