import math
from collections.abc import Callable
from itertools import islice, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_bench.arrivals import Arrivals, Burst, Constant, Poisson, Trace, at_rate, end_s, mean_rate, offsets

RATES = st.floats(0.1, 10_000)
KINDS: st.SearchStrategy[Arrivals] = st.one_of(
    RATES.map(Constant),
    RATES.map(Poisson),
    st.builds(lambda calm, high, share: Burst(calm, high, 2.0, 2.0 * share), RATES, RATES, st.floats(0.1, 1.0)),
)
SEEDS = st.integers(0, 2**31)


@given(KINDS, SEEDS)
def test_calls_are_sent_in_order_and_at_the_same_times_for_the_same_seed(arrivals: Arrivals, seed: int) -> None:
    times = list(islice(offsets(arrivals, seed), 300))
    assert times == list(islice(offsets(arrivals, seed), 300))
    assert times[0] >= 0
    assert all(earlier <= later for earlier, later in pairwise(times))


@given(KINDS, SEEDS, st.integers(1, 5))
def test_processes_that_each_take_every_nth_call_send_all_of_them_once(
    arrivals: Arrivals, seed: int, count: int
) -> None:
    whole = list(islice(offsets(arrivals, seed), 60 * count))
    shares = [list(islice(offsets(arrivals, seed), index, 60 * count, count)) for index in range(count)]
    assert sorted(time for share in shares for time in share) == whole


@pytest.mark.parametrize(
    "arrivals", [Constant(200.0), Poisson(200.0), Burst(100.0, 600.0, 2.0, 0.4), Burst(0.0, 1000.0, 1.0, 0.2)]
)
def test_over_a_long_time_as_many_calls_come_as_the_mean_rate_says(arrivals: Arrivals, seed: int) -> None:
    times = list(islice(offsets(arrivals, seed), 40_000))
    assert len(times) / times[-1] == pytest.approx(mean_rate(arrivals), rel=0.05)


def test_the_gaps_of_independent_callers_vary_as_much_as_they_last(seed: int) -> None:
    gaps = np.diff(list(islice(offsets(Poisson(50.0), seed), 20_000)))
    assert np.std(gaps) == pytest.approx(np.mean(gaps), rel=0.05)


def test_a_burst_has_its_calls_at_the_start_of_each_period(seed: int) -> None:
    burst = Burst(10.0, 1000.0, 2.0, 0.5)
    phases = [time % 2.0 for time in islice(offsets(burst, seed), 10_000)]
    assert sum(phase <= 0.5 for phase in phases) / len(phases) == pytest.approx(500 / 515, abs=0.02)


@given(KINDS, RATES)
def test_another_rate_keeps_the_pattern(arrivals: Arrivals, rate: float) -> None:
    changed = at_rate(arrivals, rate)
    assert type(changed) is type(arrivals)
    assert mean_rate(changed) == pytest.approx(rate)


def test_a_trace_is_played_as_recorded_or_faster() -> None:
    trace = Trace((0.0, 0.5, 2.0), speed=2.0)
    assert list(offsets(trace, 0)) == [0.0, 0.25, 1.0]
    assert (end_s(trace), mean_rate(trace)) == (1.0, 3.0)
    assert end_s(at_rate(trace, 6.0)) == 0.5
    assert end_s(Constant(1.0)) == math.inf


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Constant(0.0), "rate is positive"),
        (lambda: Poisson(math.inf), "rate is positive, got inf"),
        (lambda: Burst(-1.0, 1.0, 1.0, 1.0), "rate is not negative"),
        (lambda: Burst(1.0, 1.0, 1.0, 2.0), "burst_s is at most period_s"),
        (lambda: Trace(()), "at least one arrival"),
        (lambda: Trace((1.0, 0.5)), "ascend"),
        (lambda: Trace((-1.0, 0.5)), "not negative"),
        (lambda: Trace((0.0, math.nan)), "finite"),
        (lambda: Trace((0.0,), speed=0.0), "speed is positive"),
        (lambda: at_rate(Trace((0.0, 0.0)), 5.0), "no rate"),
    ],
)
def test_arrivals_that_cannot_be_are_refused(make: Callable[[], Arrivals], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()
