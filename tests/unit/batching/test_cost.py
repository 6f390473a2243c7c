"""The cost model: what it makes of clean, noisy, lonely, odd and changing batches."""

from random import Random

import pytest

from shoal_server.batching.cost import CostModel

BASE_S, ROW_S = 0.002, 0.0001
SIZES = (1, 2, 4, 8, 16, 32, 64)


def line_s(rows: int) -> float:
    return BASE_S + ROW_S * rows


def warmed() -> CostModel:
    return CostModel([(rows, line_s(rows)) for rows in SIZES])


def test_without_evidence_everything_is_free() -> None:
    assert CostModel().predict_s(64) == 0.0


def test_a_line_is_found_exactly() -> None:
    cost = warmed()
    assert (cost.base_s, cost.cost_s) == pytest.approx((BASE_S, ROW_S), rel=0.05)
    for _ in range(20):
        for rows in SIZES:
            cost.observe(rows, line_s(rows))
    assert (cost.base_s, cost.cost_s) == pytest.approx((BASE_S, ROW_S), rel=1e-6)
    assert cost.deviation_s == pytest.approx(0.0, abs=1e-6)
    assert cost.batches == 21 * len(SIZES)


def test_noise_is_averaged_and_known(seed: int) -> None:
    random, cost = Random(seed), warmed()
    for _ in range(300):
        rows = random.choice(SIZES)
        cost.observe(rows, line_s(rows) * random.uniform(0.9, 1.1))
    for rows in SIZES:
        assert cost.predict_s(rows) == pytest.approx(line_s(rows), rel=0.08)
    assert 0.0 < cost.deviation_s < 0.1 * line_s(64)


def test_batches_of_one_size_alone_leave_the_slope_that_was_measured_at_warm_up(seed: int) -> None:
    random, cost = Random(seed), warmed()
    for _ in range(500):
        cost.observe(64, line_s(64) * random.uniform(0.95, 1.05))
    assert cost.predict_s(64) == pytest.approx(line_s(64), rel=0.03)
    assert cost.predict_s(1) == pytest.approx(line_s(1), rel=0.25)


def test_one_size_ever_says_nothing_of_the_slope_and_the_size_itself_is_right() -> None:
    cost = CostModel()
    for _ in range(10):
        cost.observe(8, 0.004)
    assert cost.predict_s(8) == pytest.approx(0.004)
    assert cost.cost_s == 0.0


def test_a_batch_that_met_a_busy_machine_changes_little() -> None:
    cost = warmed()
    for _ in range(100):
        cost.observe(64, line_s(64))
    for _ in range(3):
        cost.observe(64, 100 * line_s(64))
    assert cost.predict_s(64) < 1.1 * line_s(64)


def test_a_model_that_has_become_three_times_slower_is_believed() -> None:
    cost = warmed()
    for _ in range(100):
        cost.observe(64, line_s(64))
    for _ in range(150):
        cost.observe(64, 3 * line_s(64))
    assert cost.predict_s(64) == pytest.approx(3 * line_s(64), rel=0.1)


def test_a_warm_up_on_a_busy_machine_is_soon_outweighed() -> None:
    cost = CostModel([(rows, 20 * line_s(rows)) for rows in SIZES])
    for _ in range(20):
        cost.observe(4, line_s(4))
    assert cost.predict_s(4) < 3 * line_s(4)


@pytest.mark.parametrize(
    "timings",
    [
        [(1, 0.010), (64, 0.001)],  # faster when larger
        [(1, 0.0001), (64, 0.064), (128, 0.2)],  # more than in proportion
        [(0, 0.0)],
        [(0, 0.001), (0, 0.002)],
        [(5, 0.0), (5, 0.0)],
    ],
)
def test_neither_part_is_ever_negative(timings: list[tuple[int, float]]) -> None:
    cost = CostModel()
    for _ in range(50):
        for rows, took_s in timings:
            cost.observe(rows, took_s)
            assert cost.base_s >= 0.0
            assert cost.cost_s >= 0.0
            assert cost.deviation_s >= 0.0


def test_the_cost_model_describes_itself() -> None:
    assert repr(CostModel([(8, 0.004)])) == "<CostModel 4000 us + 0.00 us a row, 1 batches>"
