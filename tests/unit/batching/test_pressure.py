"""Larger batches while callers wait for long."""

import pytest

from shoal_server.batching.backlog import Backlog
from shoal_server.batching.decision import Dispatch
from shoal_server.batching.forecast import Forecast
from shoal_server.options import BatchingOptions, FairnessOptions
from shoal_testing.entry import Entry

ROW_S = 0.1
B = ("b",)


def line_of(waiting: int, slots: int = 1, fairness: FairnessOptions | None = None, **options: float) -> Backlog[Entry]:
    """Return a line of requests of one row each, of a model that takes 0.1 s for each row and 0.1 s for a batch."""
    said = {"max_rows": 2, "pressed_rows": 8, "pressed_after": 3, **options}
    batching = BatchingOptions(**said)  # type: ignore[arg-type]
    timings = [(rows, ROW_S + ROW_S * rows) for rows in (1, 2, 4, 8)] * 2
    backlog: Backlog[Entry] = Backlog(batching, Forecast(batching, slots, timings), fairness)
    for _ in range(waiting):
        backlog.offer(Entry(1))
    return backlog


def sizes(backlog: Backlog[Entry], batches: int, *, shared: bool = False) -> list[int]:
    taken = [backlog.next(0.0, 1, shared=shared) for _ in range(batches)]
    return [batch.rows for batch in taken if isinstance(batch, Dispatch)]


def test_batches_become_larger_when_enough_in_a_row_have_left_somebody_waiting() -> None:
    assert sizes(line_of(40), 7) == [2, 2, 2, 8, 8, 8, 8]


def test_what_waits_no_more_begins_anew() -> None:
    backlog = line_of(24)
    assert sizes(backlog, 6) == [2, 2, 2, 8, 8, 2]
    for _ in range(40):
        backlog.offer(Entry(1))
    assert sizes(backlog, 4) == [2, 2, 2, 8]


def test_so_does_a_line_that_somebody_left_empty() -> None:
    backlog = line_of(8)
    assert sizes(backlog, 3) == [2, 2, 2]
    backlog.drain()
    backlog.offer(Entry(1))
    assert sizes(backlog, 1) == [1]
    for _ in range(40):
        backlog.offer(Entry(1))
    assert sizes(backlog, 4) == [2, 2, 2, 8]


@pytest.mark.parametrize(("waiting", "slots", "rows"), [(40, 2, 8), (18, 2, 6), (18, 3, 4), (18, 4, 3), (10, 4, 2)])
def test_the_other_slots_are_left_as_much(waiting: int, slots: int, rows: int) -> None:
    assert sizes(line_of(waiting, slots), 4) == [2, 2, 2, rows]


@pytest.mark.parametrize(("within_s", "rows"), [(7.1, 2), (7.3, 8)])  # 8 rows take 0.9 s
def test_no_deadline_is_put_at_risk(within_s: float, rows: int) -> None:
    backlog = line_of(40)
    last = Entry(1, deadline_s=within_s)
    backlog.add(last)
    assert sizes(backlog, 4) == [2, 2, 2, rows]


@pytest.mark.parametrize(("limit_s", "rows"), [(7.1, 2), (7.3, 8)])
def test_no_batch_comes_near_the_time_after_which_it_would_be_given_up(limit_s: float, rows: int) -> None:
    assert sizes(line_of(40, execution_limit_s=limit_s), 4) == [2, 2, 2, rows]


def test_where_other_models_want_slots_none_is_kept_for_longer() -> None:
    backlog = line_of(40)
    assert sizes(backlog, 4, shared=True) == [2, 2, 2, 2]
    assert sizes(backlog, 1) == [8]


def test_who_leaves_a_batch_under_way_has_the_line_begin_anew() -> None:
    backlog = line_of(40)
    assert sizes(backlog, 4) == [2, 2, 2, 8]
    backlog.deserted()
    assert sizes(backlog, 4) == [2, 2, 2, 8]


def test_nobody_who_asks_for_something_else_waits_for_longer() -> None:
    backlog = line_of(40)
    backlog.offer(Entry(1, key=B))
    assert sizes(backlog, 4) == [2, 2, 2, 2]


def test_where_callers_are_told_apart_batches_stay_short() -> None:
    assert sizes(line_of(40, fairness=FairnessOptions()), 4) == [2, 2, 2, 2]
    assert sizes(line_of(40, priority_levels=2), 4) == [2, 2, 2, 2]


def test_without_leave_they_do_too() -> None:
    assert sizes(line_of(40, pressed_rows=0), 4) == [2, 2, 2, 2]
