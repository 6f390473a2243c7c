"""When a second copy of a request is sent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_client.errors import ConfigurationError
from shoal_client.hedging import HedgeBudget, Hedging, Latencies

OPTIONS = Hedging(percentile=95, ratio=0.1, burst=3, min_samples=20, min_delay_s=0.002)


def test_nothing_is_hedged_before_enough_calls_were_seen() -> None:
    latencies = Latencies(OPTIONS)
    for _ in range(19):
        latencies.observe(0.01)
        assert latencies.hedge_after_s() is None
    latencies.observe(0.01)
    assert latencies.hedge_after_s() == 0.01


def test_the_percentile_is_that_of_the_calls_seen() -> None:
    latencies = Latencies(OPTIONS)
    for milliseconds in range(1, 101):
        latencies.observe(milliseconds / 1000)
    assert latencies.hedge_after_s() == 0.095


def test_old_calls_are_forgotten() -> None:
    latencies = Latencies(OPTIONS)
    for _ in range(512):
        latencies.observe(1.0)
    assert latencies.hedge_after_s() == 1.0
    for _ in range(512):
        latencies.observe(0.01)
    assert latencies.hedge_after_s() == 0.01


def test_no_hedge_is_earlier_than_the_least_delay() -> None:
    latencies = Latencies(OPTIONS)
    for _ in range(20):
        latencies.observe(0.0001)
    assert latencies.hedge_after_s() == 0.002


@given(st.lists(st.booleans(), max_size=300))
def test_hedges_are_at_most_the_burst_and_a_share_of_the_calls(wanted: list[bool]) -> None:
    budget = HedgeBudget(OPTIONS)
    hedges = 0
    for hedge in wanted:
        budget.called()
        hedges += hedge and budget.take()
    assert hedges <= OPTIONS.burst + OPTIONS.ratio * len(wanted)


@pytest.mark.parametrize(
    "wrong", [{"percentile": 0.0}, {"percentile": 100.0}, {"ratio": 0.0}, {"burst": 0.5}, {"min_samples": 0}]
)
def test_options_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        Hedging(**wrong)  # type: ignore[arg-type]
