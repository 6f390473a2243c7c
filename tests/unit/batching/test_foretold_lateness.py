"""Who would be answered too late, as far as is foretold: refused at the door, or given up when his turn comes."""

from dataclasses import dataclass

import pytest

from shoal_server.batching.backlog import Backlog
from shoal_server.batching.decision import CloseReason, Dispatch, TooLate
from shoal_server.batching.forecast import Forecast
from shoal_server.errors import DeadlineExceeded, Overloaded
from shoal_server.options import BatchingOptions
from shoal_testing.entry import Entry


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
