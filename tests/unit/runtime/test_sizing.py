"""What trials of a model say about how it is best run."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_server.runtime.sizing import (
    Sizing,
    Trial,
    better,
    larger,
    sized,
    tuned,
    untried,
    worth_reaching,
    worth_trying,
)

WIDE, NARROW = Sizing(1, 2), Sizing(2, 1)


def trials(sizing: Sizing, run_ms: dict[int, float]) -> list[Trial]:
    return [Trial(sizing, rows, ms / 1e3, ms / 1e3) for rows, ms in run_ms.items()]


@pytest.mark.parametrize(
    ("cpus", "run_s", "sizings"),
    [
        (8, 0.001, [(8, 1)]),  # too short to be worth it
        (8, 0.1, [(8, 1), (1, 8), (4, 2), (2, 4)]),
        (6, 0.1, [(6, 1), (1, 6), (3, 2), (1, 4)]),
        (1.9, 0.1, [(1, 1)]),  # there is no second processor
        (0.5, 0.1, [(1, 1)]),
        (2, 0.002, [(2, 1)]),
        (2.5, 0.0021, [(2, 1), (1, 2)]),
    ],
)
def test_threads_are_tried_where_a_run_is_long_and_processors_are_many(
    cpus: float, run_s: float, sizings: list[tuple[int, int]]
) -> None:
    assert worth_trying(cpus, run_s) == tuple(Sizing(*sizing) for sizing in sizings)


@pytest.mark.parametrize(("cpus", "threads", "slots"), [(8, 2, 4), (8, 3, 2), (0.5, 1, 1), (2.9, 1, 2), (2, 4, 1)])
def test_runs_share_the_processor(cpus: float, threads: int, slots: int) -> None:
    assert sized(cpus, threads) == Sizing(slots, threads)


@pytest.mark.parametrize(
    ("run_ms", "more"),
    [
        ({1: 10}, 2),
        ({1: 10, 2: 20}, 4),
        ({1: 10, 2: 20, 4: 40}, 0),  # two doublings brought nothing
        ({1: 10, 2: 20, 4: 30}, 8),
        ({1: 10, 2: 12, 4: 25, 8: 50}, 0),
        ({1: 10, 2: 11, 4: 12, 8: 13, 16: 14, 32: 15, 48: 16}, 0),  # no batch has more
        ({1: 10, 2: 11, 4: 12, 8: 13, 16: 14, 32: 15}, 48),
    ],
)
def test_more_rows_are_tried_until_two_doublings_brought_nothing(run_ms: dict[int, float], more: int) -> None:
    assert larger(trials(NARROW, run_ms), 48) == more


@pytest.mark.parametrize(
    ("narrow", "wide", "chosen"),
    [
        ({1: 100}, {1: 80}, NARROW),  # 20 rows a second against 12.5
        ({1: 100}, {1: 50}, WIDE),  # as good, and twice as soon
        ({1: 100}, {1: 50.6}, NARROW),  # what that gives away would be given away at all times
        ({1: 100, 2: 200, 4: 400}, {1: 60, 2: 105, 4: 198}, WIDE),  # as good with four rows, and sooner with one
        ({1: 100, 2: 110, 4: 120}, {1: 49, 2: 54}, WIDE),  # there was no time to try it with four
    ],
)
def test_throughput_decides_and_among_equals_the_lone_caller(
    narrow: dict[int, float], wide: dict[int, float], chosen: Sizing
) -> None:
    assert better([*trials(NARROW, narrow), *trials(WIDE, wide)], 64) == chosen


@pytest.mark.parametrize(("row_bytes", "chosen"), [(0, WIDE), (20_000, WIDE), (2_000_000, NARROW)])
def test_requests_are_carried_by_a_processor_for_which_all_threads_of_a_run_wait(
    row_bytes: int, chosen: Sizing
) -> None:
    tried = [Trial(NARROW, 1, 0.1, 0.1, row_bytes), Trial(WIDE, 1, 0.05, 0.05, row_bytes)]
    assert better(tried, 1) == chosen


@pytest.mark.parametrize(
    ("run_ms", "rows"),
    [
        ({1: 100, 2: 200, 4: 400}, 1),
        ({1: 100, 2: 120, 4: 200, 8: 402, 16: 810}, 4),
        ({1: 100, 2: 110, 4: 130}, 64),  # there was no time for more, which may well pay
        ({1: 33.5, 2: 65.5}, 1),  # more than a twentieth of one row's time is not to be had
        ({1: 33.5, 2: 61.5}, 4),  # here it is
        ({1: 100, 2: 150}, 16),
        ({1: 100, 2: 90}, 64),
        ({1: 100, 2: 190, 4: 320}, 16),
        ({1: 100}, 64),  # nothing is known
        ({1: 2.2, 2: 4.2, 4: 8.2, 8: 16.2, 16: 32.2}, 4),  # what a batch costs the server counts, too
        ({1: 33.2, 2: 65.8, 4: 131.6}, 1),
        ({1: 33.2, 2: 64, 4: 128}, 2),  # and more where a run has had the caches for long
        ({1: 332, 2: 640, 4: 1280}, 1),
    ],
)
def test_a_batch_has_the_fewest_rows_that_are_nearly_as_good_as_any(run_ms: dict[int, float], rows: int) -> None:
    assert tuned(NARROW, trials(NARROW, run_ms), 64).rows == rows


@pytest.mark.parametrize(
    ("run_ms", "beyond_ms", "rows", "pressed_rows"),
    [
        ({1: 100, 2: 200, 4: 400}, {8: 800}, 1, 8),
        ({1: 100, 2: 200, 4: 400}, {}, 1, 4),  # there was no time for more, or the model refuses them
        ({1: 33.2, 2: 64, 4: 128}, {8: 256, 16: 512}, 2, 16),
        ({1: 33.2, 2: 64, 4: 128}, {8: 266, 16: 532}, 2, 16),  # 4 % worse: it may be noise
        ({1: 33.2, 2: 64, 4: 128}, {8: 256, 16: 600}, 2, 8),  # 15 % worse
        ({1: 33.2, 2: 63, 4: 133}, {}, 2, 4),
        ({1: 33.2, 2: 63, 4: 146}, {8: 256}, 2, 2),  # what is much worse is not gone past
        ({1: 100, 2: 200, 4: 460}, {}, 1, 2),
        ({1: 100, 2: 150}, {32: 1600, 64: 3200}, 16, 64),
        ({1: 100}, {}, 64, 64),
    ],
)
def test_a_batch_has_up_to_eight_times_as_many_while_callers_wait_anyway_if_they_were_tried_and_are_not_much_worse(
    run_ms: dict[int, float], beyond_ms: dict[int, float], rows: int, pressed_rows: int
) -> None:
    tuning = tuned(NARROW, trials(NARROW, run_ms), 64, trials(NARROW, beyond_ms))
    assert (tuning.rows, tuning.pressed_rows) == (rows, pressed_rows)


@pytest.mark.parametrize(("rows", "most_rows", "up_to"), [(1, 64, 8), (2, 64, 16), (16, 64, 64), (64, 64, 64)])
def test_what_they_may_have_is_tried(rows: int, most_rows: int, up_to: int) -> None:
    assert worth_reaching(rows, most_rows) == up_to


@pytest.mark.parametrize(
    ("sizing", "run_ms", "delay_ms"),
    [
        (WIDE, {1: 100, 2: 101}, 5.0),  # who just missed a batch would wait for all of the next
        (WIDE, {1: 100, 2: 120}, 0.0),
        (NARROW, {1: 100, 2: 101}, 0.0),  # the other slot is free
        (WIDE, {1: 100}, 0.0),  # nothing is known of two rows
        (WIDE, {1: 1.5, 2: 1.5}, 0.0),  # no timer is so exact
    ],
)
def test_waiting_pays_where_there_is_one_slot_and_rows_cost_nothing(
    sizing: Sizing, run_ms: dict[int, float], delay_ms: float
) -> None:
    tuning = tuned(sizing, trials(sizing, run_ms), 64)
    assert tuning.delay_s * 1e3 == pytest.approx(delay_ms)


def test_the_reason_has_the_choice_and_the_figures_that_led_to_it() -> None:
    tried = [*trials(NARROW, {1: 99.2, 2: 199.2, 4: 399.2}), *trials(WIDE, {1: 79.2, 2: 149.2})]
    tuning = tuned(NARROW, tried, 64, trials(NARROW, {8: 799.2}))
    assert tuning.reason == (
        "2 x 1 thread, batches of up to 1 row (8 while callers wait for long), waiting never pays; rows/s by rows, "
        "2 x 1 thread: 1: 20, 2: 20, 4: 20, 8: 20; 1 x 2 threads: 1: 12.5, 2: 13.33"
    )
    assert untried(WIDE, "why").reason == "1 x 2 threads: why"


@given(
    st.lists(
        st.tuples(
            st.sampled_from([Sizing(8, 1), Sizing(4, 2), Sizing(1, 8)]),
            st.lists(st.floats(1e-5, 100.0), min_size=1, max_size=7),
        ),
        min_size=1,
        max_size=3,
        unique_by=lambda tried: tried[0],
    )
)
def test_what_is_chosen_was_tried_and_nothing_tried_is_better_by_more_than_the_noise(
    tried: list[tuple[Sizing, list[float]]],
) -> None:
    every = [
        Trial(sizing, 1 << doubled, run_s, run_s) for sizing, times in tried for doubled, run_s in enumerate(times)
    ]
    sizing = better(every, 128)
    tuning = tuned(sizing, every, 128)
    assert (tuning.slots, tuning.intra_op_threads) == (sizing.slots, sizing.intra_op_threads)
    own = [trial for trial in every if trial.sizing == sizing]
    best = max(trial.rows_per_s for trial in own)
    assert max(trial.rows_per_s for trial in own if trial.rows <= tuning.rows) >= 0.95 * best
    assert any(trial.rows == tuning.rows for trial in own) or own[-1].rows < tuning.rows <= 128
    assert tuning.rows <= tuning.pressed_rows <= min(8 * tuning.rows, 128)
    with_one_row = [trial.rows_per_s for trial in every if trial.rows == 1]
    assert best >= 0.99 * max(with_one_row), "every sizing was tried with one row"
    assert 0 <= tuning.delay_s <= own[0].run_s / 19
