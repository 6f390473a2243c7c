"""The policy in tables: what goes next, when, and what is refused."""

import gc
import weakref
from collections.abc import Sequence

import pytest

from shoal_server.batching.backlog import Backlog
from shoal_server.batching.decision import CloseReason, Dispatch, Idle, WakeAt
from shoal_server.errors import Overloaded
from shoal_server.options import BatchingOptions
from shoal_testing.entry import A, Entry

B = ("b",)
Option = int | float | tuple[int, ...]


def backlog_of(entries: Sequence[Entry], **options: Option) -> Backlog[Entry]:
    backlog: Backlog[Entry] = Backlog(BatchingOptions(**options))  # type: ignore[arg-type]
    for entry in entries:
        backlog.offer(entry)
    return backlog


def rows_taken(entries: Sequence[Entry], now: float = 0.0, **options: Option) -> list[int] | str:
    """Return the rows of each member of the next batch, or what else the backlog decides."""
    decision = backlog_of(entries, **options).next(now, 1)
    if isinstance(decision, Dispatch):
        assert decision.rows == sum(entry.rows for entry in decision.entries)
        return [entry.rows for entry in decision.entries]
    return repr(decision)


@pytest.mark.parametrize(
    ("rows", "max_rows", "taken"),
    [
        ([1], 8, [1]),
        ([1, 2, 3], 8, [1, 2, 3]),
        ([4, 4, 1], 8, [4, 4]),
        ([4, 5], 8, [4]),
        ([8, 1], 8, [8]),
        ([9, 1], 8, [9]),  # one more than a batch holds: runs alone
        ([1, 9], 8, [1]),  # and blocks nobody before it
        ([1, 1, 1], 1, [1]),
        ([100], 1, [100]),
    ],
)
def test_without_a_delay_a_free_slot_takes_what_waits_and_fits(
    rows: list[int], max_rows: int, taken: list[int]
) -> None:
    assert rows_taken([Entry(size) for size in rows], max_rows=max_rows) == taken


def test_the_oversized_request_never_blocks_the_head_of_the_line() -> None:
    small, huge, last = Entry(1), Entry(1000), Entry(1)
    backlog = backlog_of([small, huge, last], max_rows=8)
    batches = [backlog.next(0.0, 1) for _ in range(3)]
    assert [batch.entries for batch in batches if isinstance(batch, Dispatch)] == [(small,), (huge,), (last,)]


@pytest.mark.parametrize(
    ("entries", "options", "reason"),
    [
        ([Entry(1)], {}, CloseReason.SLOT_FREE),
        ([Entry(8)], {"max_rows": 8}, CloseReason.FULL),
        ([Entry(9)], {"max_rows": 8}, CloseReason.FULL),
        ([Entry(5), Entry(5)], {"max_rows": 8}, CloseReason.FULL),
        ([Entry(1, key=None)], {}, CloseReason.ALONE),
        ([Entry(9, key=None)], {"max_rows": 8}, CloseReason.ALONE),
        ([Entry(1, arrived_s=-1.0)], {"delay_s": 0.5}, CloseReason.DELAY_OVER),
        ([Entry(4)], {"delay_s": 0.5, "preferred_rows": (4,)}, CloseReason.FULL),
    ],
)
def test_a_batch_says_why_it_took_no_more(
    entries: list[Entry], options: dict[str, Option], reason: CloseReason
) -> None:
    decision = backlog_of(entries, **options).next(0.0, 1)
    assert isinstance(decision, Dispatch)
    assert decision.reason is reason


def test_an_empty_backlog_is_idle() -> None:
    assert backlog_of([]).next(0.0, 1) == Idle()


def test_without_a_free_slot_it_wakes_for_the_next_deadline_alone() -> None:
    entries = [Entry(deadline_s=9.0), Entry(deadline_s=7.0)]
    assert backlog_of(entries).next(0.0, 0) == WakeAt(7.0)


@pytest.mark.parametrize(
    ("now", "rows", "preferred", "decision"),
    [
        (0.0, [1], (), "WakeAt(at_s=0.5)"),
        (0.49, [1, 1, 1], (), "WakeAt(at_s=0.5)"),
        (0.5, [1, 1, 1], (), [1, 1, 1]),
        (0.0, [4, 4], (), [4, 4]),  # full
        (0.0, [1, 1, 1], (4,), "WakeAt(at_s=0.5)"),
        (0.0, [1, 1, 1, 1], (4,), [1, 1, 1, 1]),
        (0.0, [1, 1, 1, 1, 1], (4,), [1, 1, 1, 1]),  # the fifth waits for its own
        (0.0, [2, 2, 2], (2, 4), [2, 2]),  # the largest preferred size
        (0.5, [1, 1, 1, 1, 1], (4,), [1, 1, 1, 1, 1]),  # the delay is over: all that fits
        (0.0, [5], (4,), [5]),
    ],
)
def test_a_delay_holds_back_only_what_is_not_worth_dispatching(
    now: float, rows: list[int], preferred: tuple[int, ...], decision: list[int] | str
) -> None:
    entries = [Entry(size) for size in rows]
    assert rows_taken(entries, now, max_rows=8, delay_s=0.5, preferred_rows=preferred) == decision


def test_a_deadline_before_the_end_of_the_delay_wakes_first() -> None:
    assert rows_taken([Entry(deadline_s=0.2)], delay_s=0.5) == "WakeAt(at_s=0.2)"


def test_what_runs_alone_is_not_held_back_by_a_delay() -> None:
    waiting, alone = Entry(1), Entry(1, key=None)
    decision = backlog_of([waiting, alone], delay_s=0.5).next(0.0, 1)
    assert isinstance(decision, Dispatch)
    assert decision.entries == (alone,)


def test_no_batch_mixes_keys_and_the_oldest_request_decides_which_goes_next() -> None:
    first, second, third, fourth = Entry(key=A), Entry(key=B), Entry(key=A), Entry(key=None)
    backlog = backlog_of([first, second, third, fourth])
    batches = [backlog.next(0.0, 1) for _ in range(3)]
    assert [batch.entries for batch in batches if isinstance(batch, Dispatch)] == [
        (first, third),
        (second,),
        (fourth,),
    ]
    assert backlog.next(0.0, 1) == Idle()


def test_a_full_lane_overtakes_one_that_is_held_back_but_not_one_whose_delay_is_over() -> None:
    def offered() -> Backlog[Entry]:
        return backlog_of([Entry(1, key=A), Entry(8, key=B)], max_rows=8, delay_s=0.5)

    early, late = offered().next(0.1, 1), offered().next(0.5, 1)
    assert isinstance(early, Dispatch)
    assert isinstance(late, Dispatch)
    assert (early.entries[0].key, late.entries[0].key) == (B, A)


def test_a_lane_that_lost_rows_is_held_back_again() -> None:
    entries = [Entry(4), Entry(4), Entry(1, key=B)]
    backlog = backlog_of(entries, max_rows=8, delay_s=0.5)
    assert backlog.withdraw(entries[1])
    assert backlog.next(0.0, 1) == WakeAt(0.5)


def test_a_withdrawn_request_is_never_dispatched_and_frees_its_place() -> None:
    entries = [Entry(2), Entry(3), Entry(4)]
    backlog = backlog_of(entries)
    assert backlog.withdraw(entries[1])
    assert not backlog.withdraw(entries[1])
    assert (len(backlog), backlog.rows, backlog.size_bytes) == (2, 6, 20)
    decision = backlog.next(0.0, 1)
    assert isinstance(decision, Dispatch)
    assert decision.entries == (entries[0], entries[2])
    assert not backlog.withdraw(entries[0])


def test_expired_requests_leave_at_their_deadline_and_not_before() -> None:
    soon, later = Entry(deadline_s=1.0), Entry(deadline_s=2.0)
    backlog = backlog_of([later, soon])
    assert backlog.expire(0.999) == []
    assert backlog.expire(1.0) == [soon]
    assert backlog.expire(5.0) == [later]
    assert (len(backlog), backlog.rows, backlog.size_bytes) == (0, 0, 0)


def test_draining_returns_everything_in_the_order_of_arrival() -> None:
    entries = [Entry(key=A), Entry(key=B), Entry(key=None), Entry(key=A)]
    backlog = backlog_of(entries)
    assert backlog.drain() == entries
    assert backlog.next(0.0, 1) == Idle()
    assert backlog.expire(1e9) == []


@pytest.mark.parametrize(
    ("bound", "accepted", "refused"),
    [
        ({"max_queued_requests": 2}, [Entry(), Entry()], Entry()),
        ({"max_queued_rows": 10}, [Entry(6), Entry(4)], Entry(1)),
        ({"max_queued_rows": 10}, [Entry(1)], Entry(10)),
        ({"max_queued_bytes": 25}, [Entry(), Entry()], Entry()),
        ({"max_queued_rows": 10}, [Entry(11)], Entry(0)),  # too large for an empty line: passes alone
        ({"max_queued_bytes": 5}, [Entry()], Entry()),
    ],
)
def test_a_full_line_refuses_and_stays_as_it_was(bound: dict[str, int], accepted: list[Entry], refused: Entry) -> None:
    backlog = backlog_of(accepted, **bound)
    before = (len(backlog), backlog.rows, backlog.size_bytes)
    with pytest.raises(Overloaded, match=r"waiting"):
        backlog.offer(refused)
    assert (len(backlog), backlog.rows, backlog.size_bytes) == before
    assert backlog.drain() == accepted


def test_a_place_that_was_given_up_can_be_taken_again() -> None:
    first = Entry()
    backlog = backlog_of([first], max_queued_requests=1)
    backlog.withdraw(first)
    backlog.offer(Entry())
    assert len(backlog) == 1


@pytest.mark.parametrize("leave", ["dispatch", "withdraw"])
def test_requests_that_have_left_are_forgotten_at_once_though_an_earlier_deadline_waits(leave: str) -> None:
    urgent = Entry(key=B, deadline_s=1.0, arrived_s=5.0)
    entries = [Entry(deadline_s=1e6) for _ in range(10)]
    backlog = backlog_of([*entries, urgent])
    if leave == "dispatch":
        backlog.next(0.0, 1)
    else:
        assert all(backlog.withdraw(entry) for entry in entries)
    payloads = [weakref.ref(entry) for entry in entries]
    del entries
    gc.collect()
    assert [payload() for payload in payloads] == [None] * 10
    assert backlog.drain() == [urgent]


def test_a_standing_line_does_not_grow_in_memory_with_the_requests_that_pass_through_it() -> None:
    def deadlines_held() -> int:
        return max(len(held) for held in gc.get_referents(backlog) if isinstance(held, list))

    backlog = backlog_of([Entry(key=B, deadline_s=1.0)])
    for _ in range(2000):
        backlog.offer(Entry(key=A, deadline_s=1e6))
        backlog.offer(Entry(key=B, deadline_s=1.0))
        backlog.next(0.0, 1)  # takes the older lane, so one request always waits
    assert len(backlog) <= 3
    assert deadlines_held() < 100


def test_the_backlog_describes_itself() -> None:
    assert repr(backlog_of([Entry(2), Entry(3, key=B)])) == "<Backlog 2 requests, 5 rows in 2 lanes>"
