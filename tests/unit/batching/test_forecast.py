"""What is foretold of waiting and running, in tables; and that nothing is refused where nothing is known."""

import pytest

from shoal_server.batching.forecast import ENOUGH_BATCHES, Forecast
from shoal_server.errors import Overloaded
from shoal_server.options import BatchingOptions

MAX_ROWS = 8
BASE_S, ROW_S = 0.002, 0.001
FULL_S = BASE_S + ROW_S * MAX_ROWS
TIMINGS = [(rows, BASE_S + ROW_S * rows) for rows in (1, 2, 4, 8)] * 3


def forecast_of(slots: int = 1, **options: int | tuple[int, ...]) -> Forecast:
    forecast = Forecast(BatchingOptions(max_rows=MAX_ROWS, **options), slots, TIMINGS)  # type: ignore[arg-type]
    forecast.observe(0.0, 8, FULL_S)
    return forecast


def test_the_first_batches_are_evidence_and_the_warm_up_alone_is_not() -> None:
    forecast = Forecast(BatchingOptions(), 1, TIMINGS)
    assert forecast.trusted_until_s == 0.0
    forecast.observe(5.0, 1, 0.001)
    assert forecast.trusted_until_s > 5.0
    fresh = Forecast(BatchingOptions())
    for _ in range(ENOUGH_BATCHES - 1):
        fresh.observe(5.0, 1, 0.001)
    assert fresh.trusted_until_s == 0.0
    fresh.observe(5.0, 1, 0.001)
    assert fresh.trusted_until_s == 6.0


def test_a_model_that_has_not_run_for_a_while_is_to_be_measured_again() -> None:
    forecast = forecast_of()
    assert forecast.safe_execution_s(0.999, 8) == pytest.approx(FULL_S, rel=0.05)
    assert forecast.safe_execution_s(1.0, 8) == 0.0
    slow = Forecast(BatchingOptions(), 1, [(1, 5.0)] * ENOUGH_BATCHES)
    slow.observe(10.0, 1, 5.0)
    assert slow.trusted_until_s == 30.0


@pytest.mark.parametrize(
    ("rows", "ahead", "batches_before"),
    [(1, 0, 0), (1, 7, 0), (1, 8, 1), (2, 7, 1), (8, 0, 0), (8, 1, 1), (8, 8, 1), (20, 0, 0), (20, 9, 2), (0, 8, 1)],
)
def test_with_every_slot_busy_a_request_waits_for_a_slot_and_the_full_batches_before_its_own(
    rows: int, ahead: int, batches_before: int
) -> None:
    forecast = forecast_of()
    forecast.started(0.0, 8)
    expected_s = FULL_S - 0.004 + batches_before * FULL_S
    assert forecast.wait_s(0.004, rows, ahead) == pytest.approx(expected_s, rel=0.02)


def test_with_a_slot_free_nobody_waits() -> None:
    forecast = forecast_of(slots=2)
    forecast.started(0.0, 8)
    assert forecast.wait_s(0.0, 1, 100) == 0.0
    forecast.started(0.0, 8)
    assert forecast.wait_s(0.0, 1, 7) == pytest.approx(FULL_S, rel=0.02)
    assert forecast.wait_s(0.0, 1, 16) == pytest.approx(2 * FULL_S, rel=0.02), "two slots: twice as many batches"


def test_a_batch_that_is_overdue_is_taken_to_end_at_once() -> None:
    forecast = forecast_of()
    forecast.started(0.0, 8)
    assert forecast.wait_s(5.0, 1, 0) == 0.0


def test_under_pressure_the_rate_at_which_rows_really_left_counts() -> None:
    """Another model takes two thirds of the slots: batches end three times as slowly as they run."""
    forecast = forecast_of()
    now = 0.0
    for _ in range(40):
        token = forecast.started(now + 2 * FULL_S, 8)
        now += 3 * FULL_S
        forecast.ended(now, token, 8, pressed=True)
    assert forecast.drain_s(16) == pytest.approx(6 * FULL_S, rel=0.02)
    assert forecast.wait_s(now, 1, 8) == pytest.approx(3 * FULL_S, rel=0.02)
    token = forecast.started(now, 8)
    forecast.ended(now + FULL_S, token, 8, pressed=False)
    assert forecast.drain_s(16) == pytest.approx(2 * FULL_S, rel=0.02), "the line was short once: no pressure now"


@pytest.mark.parametrize(("rows", "ahead", "in_batch"), [(1, 0, 1), (1, 4, 5), (4, 100, 8), (20, 0, 20), (20, 9, 20)])
def test_who_waits_shares_a_batch_with_those_before_and_after(rows: int, ahead: int, in_batch: int) -> None:
    forecast = forecast_of()
    assert forecast.batch_s(rows, ahead) == pytest.approx(forecast.execution_s(in_batch))


def test_padding_costs_what_it_computes() -> None:
    forecast = forecast_of(allowed_rows=(1, 8))
    assert forecast.execution_s(2) == forecast.execution_s(8) > forecast.execution_s(1)
    assert forecast.rows_within(forecast.execution_s(8) + 1.0) == 8
    assert forecast.rows_within(BASE_S + 5 * ROW_S) == 1


@pytest.mark.parametrize("rows", [1, 3, 8, 50])
def test_as_many_rows_are_done_within_the_time_that_they_take(rows: int) -> None:
    forecast = forecast_of()
    assert forecast.rows_within(forecast.safe_execution_s(0.0, rows)) == rows


def test_where_nothing_is_known_the_line_is_guessed_to_move() -> None:
    assert Forecast(BatchingOptions()).drain_s(1000) == 0.05


def test_the_forecast_describes_itself() -> None:
    forecast = Forecast(BatchingOptions(), 2)
    forecast.started(0.0, 1)
    assert repr(forecast) == "<Forecast <CostModel 0 us + 0.00 us a row, 0 batches>, 1 of 2 slots busy>"


def test_who_waits_long_is_refused_where_it_would_be_close_and_who_waits_for_nobody_is_not() -> None:
    forecast = forecast_of()
    forecast.started(0.0, 8)
    close_s = FULL_S + forecast.execution_s(1) + 0.0001
    with pytest.raises(Overloaded, match="the answer may take"):
        forecast.check(0.0, 1, 0, close_s, close_s)
    forecast.check(0.0, 1, 0, close_s + FULL_S / 4, close_s + FULL_S / 4)
    forecast.check(FULL_S, 1, 0, FULL_S + forecast.execution_s(1) * 1.01, FULL_S + forecast.execution_s(1) * 1.01)
