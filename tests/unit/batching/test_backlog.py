"""The policy in tables: what goes next, when, and what is refused."""

import gc
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from shoal_server.batching.backlog import Backlog
from shoal_server.batching.decision import CloseReason, Dispatch, Idle, TooLate, WakeAt
from shoal_server.batching.forecast import Forecast
from shoal_server.errors import DeadlineExceeded, Overloaded
from shoal_server.options import BatchingOptions

A, B = ("a",), ("b",)
Option = int | float | tuple[int, ...]


@dataclass(eq=False)
class Entry:
    """What the backlog sees of a request."""

    rows: int = 1
    key: tuple[object, ...] | None = A
    arrived_s: float = 0.0
    deadline_s: float = 100.0
    size_bytes: int = 10
    payload: list[int] = field(default_factory=list)
    priority: int = 1
    caller: str = ""
    bucket: int = 0

    @property
    def answer_by_s(self) -> float:
        return self.deadline_s


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


def timed(max_rows: int = 8) -> tuple[Backlog[Entry], Forecast]:
    """Return the line of a model whose batches take 2 ms and 1 ms more for each row, and what is foretold of it."""
    options = BatchingOptions(max_rows=max_rows)
    forecast = Forecast(options, 1, [(rows, 0.002 + 0.001 * rows) for rows in (1, 2, 4, 8)] * 4)
    forecast.cost.deviation_s = 0.0
    forecast.observe(0.0, 8, forecast.execution_s(8))
    return Backlog(options, forecast), forecast


def test_what_the_model_alone_makes_late_is_refused_at_the_door_with_the_reason() -> None:
    backlog, _ = timed()
    with pytest.raises(DeadlineExceeded, match=r"the deadline is in 5.0 ms, and the model takes 6.0 ms"):
        backlog.offer(Entry(4, deadline_s=0.005))
    backlog.offer(Entry(4, deadline_s=0.0065))
    assert len(backlog) == 1


def test_what_the_line_makes_late_is_refused_with_the_time_in_which_it_would_pass() -> None:
    backlog, forecast = timed()
    forecast.started(0.0, 8)  # ends at 10 ms
    for _ in range(3):
        backlog.offer(Entry(8))  # start at 10, 20, 30 ms; the next would at 40, give or take 5, and end at 50
    with pytest.raises(
        Overloaded,
        match=r"all slots are busy and 24 rows are waiting before it: the answer may take 55.0 ms, .* in 45.0 ms",
    ) as no:
        backlog.offer(Entry(1, deadline_s=0.045))
    assert no.value.retry_after_s == pytest.approx(0.020, rel=0.02)
    with pytest.raises(Overloaded) as no:
        backlog.offer(Entry(1, deadline_s=0.0035))
    assert no.value.retry_after_s == pytest.approx(0.0515, rel=0.02)
    backlog.offer(Entry(1, deadline_s=0.056))
    assert len(backlog) == 4


@pytest.mark.parametrize("known", [False, True], ids=["nothing is known", "what is known is old"])
def test_without_recent_evidence_nobody_is_refused_and_nobody_is_late(*, known: bool) -> None:
    backlog = timed()[0] if known else Backlog[Entry](BatchingOptions(max_rows=8))
    entries = [Entry(8, arrived_s=5.0, deadline_s=5.0001) for _ in range(3)]
    for entry in entries:
        backlog.offer(entry)
    decision = backlog.next(5.0, 1)
    assert isinstance(decision, Dispatch)
    assert decision.entries == (entries[0],)


def test_who_cannot_be_answered_in_time_even_alone_is_given_up_when_his_turn_comes() -> None:
    backlog, _ = timed()
    late, other = Entry(2, deadline_s=0.0051), Entry(1)
    backlog.offer(late)
    backlog.offer(other)
    assert backlog.next(0.002, 1) == TooLate((late,))
    assert (len(backlog), backlog.rows) == (1, 1)
    assert backlog.next(0.002, 1) == Dispatch((other,), 1, CloseReason.SLOT_FREE)


def test_a_tight_deadline_shortens_the_batch_while_all_that_waits_would_fit_into_one() -> None:
    backlog, _ = timed()
    entries = [Entry(2, deadline_s=0.0071), Entry(2), Entry(2), Entry(2)]
    for entry in entries:
        backlog.offer(entry)
    assert backlog.next(0.0, 1) == Dispatch(tuple(entries[:2]), 4, CloseReason.DEADLINE)
    assert backlog.next(0.0, 1) == Dispatch(tuple(entries[2:]), 4, CloseReason.SLOT_FREE)


def test_a_tight_deadline_behind_others_waits_for_a_batch_of_its_own() -> None:
    backlog, _ = timed()
    entries = [Entry(4), Entry(2, deadline_s=0.0071), Entry(2)]
    for entry in entries:
        backlog.offer(entry)
    assert backlog.next(0.0, 1) == Dispatch((entries[0],), 4, CloseReason.DEADLINE)


def test_while_more_waits_than_a_batch_holds_nobody_shortens_it() -> None:
    backlog, _ = timed()
    tight = Entry(2, deadline_s=0.0071)
    others = [Entry(4), Entry(4), Entry(4)]
    for entry in (tight, *others):
        backlog.offer(entry)
    assert backlog.next(0.0, 1) == TooLate((tight,))
    assert backlog.next(0.0, 1) == Dispatch(tuple(others[:2]), 8, CloseReason.FULL)


def test_one_larger_than_any_batch_is_given_up_for_what_it_takes_itself() -> None:
    backlog, _ = timed()
    huge, other = Entry(100, deadline_s=0.103), Entry(1, deadline_s=0.05)
    backlog.offer(huge)
    backlog.offer(other)
    assert backlog.next(0.002, 1) == TooLate((huge,))
    assert backlog.next(0.002, 1) == Dispatch((other,), 1, CloseReason.SLOT_FREE)


def test_who_may_wait_for_less_than_the_line_takes_is_refused_whenever_the_answer_may_come() -> None:
    @dataclass(eq=False)
    class Impatient(Entry):
        @property
        def answer_by_s(self) -> float:
            return 100.0

    backlog, forecast = timed()
    forecast.started(0.0, 8)
    backlog.offer(Impatient(8, deadline_s=0.011))  # may start at 10 ms, whatever it takes then
    with pytest.raises(
        Overloaded, match=r"8 rows are waiting before it: its batch would start in 20.0 ms, .* for 11.0 ms"
    ):
        backlog.offer(Impatient(8, deadline_s=0.011))


def test_a_full_line_says_when_half_of_it_will_be_gone() -> None:
    options = BatchingOptions(max_rows=8, max_queued_requests=4)
    forecast = Forecast(options, 1, [(8, 0.010)] * 4)
    backlog: Backlog[Entry] = Backlog(options, forecast)
    for _ in range(4):
        backlog.offer(Entry(8))
    with pytest.raises(Overloaded) as refusal:
        backlog.offer(Entry(1))
    assert refusal.value.retry_after_s == pytest.approx(0.020)


def test_the_backlog_describes_itself() -> None:
    assert repr(backlog_of([Entry(2), Entry(3, key=B)])) == "<Backlog 2 requests, 5 rows in 2 lanes>"
