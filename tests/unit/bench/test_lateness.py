from collections import Counter

import pytest

from shoal_bench.histogram import Durations
from shoal_bench.lateness import generator_limit, starved_line
from shoal_bench.tally import NOT_SENT, OK, Tally


def tally(latency_s: float, late_s: float, *, cpu_s: float = 0.1, statuses: dict[str, int] | None = None) -> Tally:
    latencies, lateness = Durations(), Durations()
    for _ in range(100):
        latencies.record(latency_s)
        lateness.record(late_s)
    return Tally(1.0, Counter(statuses or {OK: 100}), 100, latencies, lateness=lateness, generator_cpu_s=cpu_s)


@pytest.mark.parametrize(
    ("measured", "words"),
    [
        (tally(0.010, 0.0005), ""),
        (tally(0.100, 0.009), ""),  # late, but little of what was measured
        (tally(0.0005, 0.0009), ""),  # within the grain of the timers
        (tally(0.010, 0.005), "it was itself 5.0 ms late at p50, of 10.0 ms measured"),
        (tally(0.010, 0.0005, cpu_s=1.9), "busy 95% of the time"),
        (tally(0.010, 0.0005, statuses={OK: 1, NOT_SENT: 7}), "too many calls under way to send 7 more"),
    ],
)
def test_the_generator_says_when_it_was_the_limit(measured: Tally, words: str) -> None:
    reason = generator_limit(measured, processes=2)
    assert words in reason
    assert bool(reason) == bool(words)


def test_of_a_run_without_an_answer_nothing_is_said_of_the_generator() -> None:
    assert generator_limit(Tally(1.0, Counter({"UNAVAILABLE": 5})), 2) == ""


def test_a_machine_that_was_busy_is_named() -> None:
    assert not starved_line(0.1)
    assert "a server had no CPU for 80% of the time" in starved_line(0.8)
