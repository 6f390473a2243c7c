"""Which lengths share a batch, in tables and against a naive reading; and what the backlog makes of it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_server.batching.backlog import Backlog
from shoal_server.batching.decision import CloseReason, Dispatch, TooLate, WakeAt
from shoal_server.batching.forecast import Forecast
from shoal_server.batching.joining import Joint, Limits, join
from shoal_server.options import BatchingOptions, LengthOptions, VariableInput

BASE_S, CELL_S = 0.01, 0.001  # a batch more takes as long as ten cells
KEY = ("ids",)


@dataclass(eq=False)
class Entry:
    bucket: int
    rows: int = 1
    key: tuple[object, ...] | None = KEY
    arrived_s: float = 0.0
    deadline_s: float = 1e6
    answer_by_s: float = inf
    size_bytes: int = 10
    priority: int = 1
    caller: str = ""


def options_of(max_cells: int = 0, **options: float | tuple[int, ...]) -> BatchingOptions:
    lengths = LengthOptions({"ids": VariableInput(1)}, max_cells=max_cells)
    return BatchingOptions(lengths=lengths, **options)  # type: ignore[arg-type]


def forecast_of(options: BatchingOptions) -> Forecast:
    return Forecast(options, 1, [(cells, BASE_S + CELL_S * cells) for cells in (8, 16, 32, 64, 128)])


def backlog_of(entries: Iterable[Entry], options: BatchingOptions | None = None) -> Backlog[Entry]:
    options = options or options_of()
    backlog: Backlog[Entry] = Backlog(options, forecast_of(options))
    for entry in entries:
        backlog.offer(entry)
    return backlog


def batches(lengths: Sequence[int], **options: float | tuple[int, ...]) -> list[tuple[list[int], CloseReason]]:
    """Return the lengths in each batch, one row each, as a single slot takes them one after the other."""
    backlog = backlog_of([Entry(length) for length in lengths], options_of(**options))  # type: ignore[arg-type]
    found = []
    while isinstance(decision := backlog.next(0.0, 1), Dispatch):
        assert decision.cells == decision.rows * max(entry.bucket for entry in decision.entries)
        found.append(([entry.bucket for entry in decision.entries], decision.reason))
    assert (len(backlog), backlog.rows, backlog.cells) == (0, 0, 0)
    return found


FREE, FULL, LENGTHS = CloseReason.SLOT_FREE, CloseReason.FULL, CloseReason.LENGTHS


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        ([5], [([5], FREE)]),
        ([5, 5, 5], [([5, 5, 5], FREE)]),
        ([10, 20], [([10, 20], FREE)]),  # ten cells of padding cost what a batch costs
        ([10, 21], [([10], LENGTHS), ([21], FREE)]),
        ([20, 10], [([20, 10], FREE)]),
        ([20, 17, 24, 20], [([20, 20, 17], LENGTHS), ([24], FREE)]),  # his own length, then the nearest
        ([20, 18, 21, 23], [([20, 21, 18, 23], FREE)]),  # 1 + 3 + 6 cells
        ([20, 100, 21], [([20, 21], LENGTHS), ([100], FREE)]),  # one odd length is passed by, not flushed
        ([100, 20, 21], [([100], LENGTHS), ([20, 21], FREE)]),  # and goes when it is his turn
        ([1, 2, 3, 4, 5, 6, 7, 8], [([1, 2, 3, 4, 5], LENGTHS), ([6, 7, 8], FREE)]),
    ],
)
def test_a_batch_takes_its_neighbours_by_length_as_long_as_padding_costs_less_than_a_batch(
    lengths: list[int], expected: list[tuple[list[int], CloseReason]]
) -> None:
    assert batches(lengths) == expected


def test_the_limit_of_a_batch_is_in_rows_and_in_padded_cells() -> None:
    assert batches([10] * 5, max_rows=2) == [([10, 10], FULL), ([10, 10], FULL), ([10], FREE)]
    assert batches([10] * 5, max_cells=25) == [([10, 10], FULL), ([10, 10], FULL), ([10], FREE)]
    assert batches([10, 12], max_cells=23) == [([10], FULL), ([12], FREE)], "24 cells, with the padding"
    assert batches([100, 10], max_cells=50) == [([100], FULL), ([10], FREE)], "what exceeds it runs alone"


def test_rows_are_weighed_all_together() -> None:
    decision = backlog_of([Entry(10, rows=8), Entry(12, rows=1)]).next(0.0, 1)
    assert isinstance(decision, Dispatch)
    assert [entry.bucket for entry in decision.entries] == [10], "to pad eight rows by two costs more than a batch"
    assert decision.reason is LENGTHS


def test_sizes_that_the_model_runs_at_count_as_cells_too() -> None:
    decision = backlog_of([Entry(10), Entry(10), Entry(10)], options_of(allowed_rows=(4, 8))).next(0.0, 1)
    assert isinstance(decision, Dispatch)
    assert (decision.rows, decision.cells) == (3, 40)


def test_what_cannot_be_joined_runs_alone_in_its_turn() -> None:
    alone, others = Entry(10, key=None), [Entry(10), Entry(10)]
    backlog = backlog_of([alone, *others])
    assert backlog.next(0.0, 1) == Dispatch((alone,), 1, CloseReason.ALONE, 10)
    assert backlog.next(0.0, 1) == Dispatch(tuple(others), 2, CloseReason.SLOT_FREE, 20)


def test_shapes_that_differ_otherwise_wait_side_by_side() -> None:
    first, other = Entry(10), Entry(10, key=("wider",))
    assert backlog_of([first, other]).next(0.0, 1) == Dispatch((first,), 1, CloseReason.SLOT_FREE, 10)


def test_a_bucket_that_is_full_in_cells_waits_no_longer_for_company() -> None:
    backlog = backlog_of([Entry(10)], options_of(delay_s=0.5, max_cells=20))
    assert backlog.next(0.0, 1) == WakeAt(0.5)
    backlog.offer(Entry(10))
    decision = backlog.next(0.0, 1)
    assert isinstance(decision, Dispatch)
    assert (decision.rows, decision.reason) == (2, FULL)


def test_without_evidence_only_equal_lengths_share_a_batch() -> None:
    backlog: Backlog[Entry] = Backlog(options_of())
    for length in (10, 10, 11):
        backlog.offer(Entry(length))
    decision = backlog.next(0.0, 1)
    assert isinstance(decision, Dispatch)
    assert [entry.bucket for entry in decision.entries] == [10, 10]


def known(entries: Iterable[Entry], max_cells: int = 0) -> Backlog[Entry]:
    """Return a line of which it is known from now on what its batches take."""
    options = options_of(max_cells)
    forecast = forecast_of(options)
    backlog: Backlog[Entry] = Backlog(options, forecast)
    for entry in entries:
        backlog.offer(entry)
    took_s = BASE_S + 20 * CELL_S
    forecast.observe(0.0, 20, took_s, took_s)
    return backlog


def test_who_would_be_late_in_a_batch_shortens_it() -> None:
    # Ten cells take 20 ms, twenty 30.
    hasty, others = Entry(10, answer_by_s=0.031), [Entry(10), Entry(10)]
    backlog = known([hasty, *others])
    assert backlog.next(0.0, 1) == Dispatch((hasty, others[0]), 2, CloseReason.DEADLINE, 20)
    assert backlog.next(0.0, 1) == Dispatch((others[1],), 1, CloseReason.SLOT_FREE, 10)


def test_who_would_be_late_even_alone_is_given_up() -> None:
    late, other = Entry(10, answer_by_s=0.015), Entry(10)
    backlog = known([late, other])
    assert backlog.next(0.0, 1) == TooLate((late,))
    assert backlog.next(0.0, 1) == Dispatch((other,), 1, CloseReason.SLOT_FREE, 10)


def test_while_more_wait_than_a_batch_can_hold_nobody_shortens_it() -> None:
    hasty, others = Entry(10, answer_by_s=0.031), [Entry(10) for _ in range(4)]
    backlog = known([hasty, *others], max_cells=30)
    assert backlog.next(0.0, 1) == TooLate((hasty,))
    assert backlog.next(0.0, 1) == Dispatch(tuple(others[:3]), 3, CloseReason.FULL, 30)


@given(
    waiting=st.lists(st.tuples(st.integers(1, 30), st.integers(1, 3)), min_size=1, max_size=25),
    first=st.integers(0, 24),
    rows=st.integers(1, 20),
    cells=st.integers(1, 200),
    padding=st.integers(0, 40),
)
def test_whoever_waits_a_batch_stays_within_its_limits_and_passes_over_nobody_between(
    waiting: list[tuple[int, int]], first: int, rows: int, cells: int, padding: int
) -> None:
    entries = [Entry(bucket, rows=size) for bucket, size in waiting]
    head = entries[first % len(entries)].bucket
    buckets = sorted({entry.bucket for entry in entries})
    lanes = {bucket: [entry for entry in entries if entry.bucket == bucket] for bucket in buckets}
    joint: Joint[Entry] = join(buckets, head, lanes.__getitem__, Limits(rows, cells, padding))

    taken = joint.entries
    own = sum(entry.rows * entry.bucket for entry in taken)
    assert taken[0] is lanes[head][0]
    assert joint.rows == sum(entry.rows for entry in taken)
    assert joint.cells == joint.rows * max(entry.bucket for entry in taken)
    assert len(taken) == 1 or (joint.rows <= rows and joint.cells <= cells)
    assert joint.cells - own <= min(padding, own) or len(taken) == 1
    met = list(dict.fromkeys(entry.bucket for entry in taken))
    for bucket in met:
        members = [entry for entry in taken if entry.bucket == bucket]
        assert members == lanes[bucket][: len(members)], "the front of a lane"
        assert bucket == met[-1] or members == lanes[bucket], "the last alone may be taken in part"
    assert sorted(met) == buckets[buckets.index(min(met)) : buckets.index(max(met)) + 1]
    if joint.reason is None:
        assert len(taken) == len(entries), "nothing speaks against it, and somebody was left"

    shorter = joint.shorten(cells // 2)
    assert joint.entries == taken[: len(joint.entries)]
    assert joint.entries
    assert joint.cells <= cells // 2 or len(joint.entries) == 1 or not shorter


@given(st.lists(st.integers(1, 60), max_size=40))
def test_everybody_is_served_and_the_oldest_is_always_in_the_next_batch(lengths: list[int]) -> None:
    entries = [Entry(length) for length in lengths]
    backlog = backlog_of(entries)
    left = list(entries)
    while isinstance(decision := backlog.next(0.0, 1), Dispatch):
        assert decision.entries[0] is left[0]
        left = [entry for entry in left if entry not in decision.entries]
    assert not left


def test_the_largest_batch_is_the_one_whose_base_cost_has_become_small() -> None:
    forecast = forecast_of(options_of())
    assert forecast.spare_cost == pytest.approx(10, abs=1)
    assert forecast.full_cost == pytest.approx(320, abs=32), "the base is a 32nd of its time"
    assert forecast_of(options_of(max_cells=77)).full_cost == 77
    assert Forecast(options_of()).full_cost == 256, "nothing is known"


def test_time_on_the_clock_that_others_take_does_not_make_padding_cheap() -> None:
    forecast = forecast_of(options_of())
    for _ in range(200):
        forecast.observe(0.0, 20, 0.5, BASE_S + 20 * CELL_S)  # the machine is busy
    assert forecast.spare_cost == pytest.approx(10, abs=2)
    assert forecast.execution_s(20) > 0.3, "deadlines are judged by the clock"
