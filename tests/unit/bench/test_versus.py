from collections import Counter

import pytest

from shoal_bench.histogram import Durations
from shoal_bench.result import Run, Window
from shoal_bench.tally import NOT_SENT, OK, Tally
from shoal_bench.versus import series, table


def run(calls: int, *, cpu_s: float | None = None, not_sent: int = 0) -> Run:
    latencies = Durations()
    for _ in range(10):
        latencies.record(0.001)
    tally = Tally(1.0, Counter({OK: calls, NOT_SENT: not_sent}), calls, latencies)
    return Run(2, [Window(tally, cpu_s, None if cpu_s is None else 50 << 20)])


def test_the_ratios_are_those_within_a_round() -> None:
    rounds = [{"shoal": run(100), "peer": run(50)}, {"shoal": run(30), "peer": run(10)}]
    assert series(rounds)["ratio to peer"] == [2.0, 3.0]
    assert series(rounds)["peer/throughput_per_s"] == [50.0, 10.0]


def test_cpu_time_is_compared_where_both_are_known() -> None:
    found = series([{"shoal": run(100, cpu_s=0.1), "peer": run(100, cpu_s=0.4), "far": run(100)}])
    assert found["cpu_share to peer"] == pytest.approx([0.25])
    assert "cpu_share to far" not in found


def test_the_table_is_markdown_with_the_ratios_below() -> None:
    lines = table([{"shoal": run(100, cpu_s=0.1), "peer": run(50, cpu_s=0.1)}] * 3)
    assert lines[2:4] == ["| shoal | 100 | 1.00 | 1.00 | 1000 | 50 |", "| peer | 50 | 1.00 | 1.00 | 2000 | 50 |"]
    assert lines[4] == "shoal over peer: 2.00 (2.00 to 2.00 in 3 rounds); CPU per call 0.50 of its (0.50 to 0.50)"


def test_what_the_generator_limited_is_never_given_as_the_servers() -> None:
    lines = table([{"shoal": run(100, not_sent=1), "peer": run(50)}])
    assert lines[2].startswith("| shoal | >= 100 |")
    assert lines[3].startswith("| peer | 50 |")
    assert lines[4].startswith("shoal over peer: >= 2.00")
    assert "in 1 of 1 rounds THE LOAD GENERATOR WAS THE LIMIT, NOT shoal" in lines[-1]


def test_where_the_generator_limited_the_peer_the_ratio_is_not_known() -> None:
    lines = table([{"shoal": run(100), "peer": run(50, not_sent=1)}])
    assert lines[4].startswith("shoal over peer: no ratio of calls/s")


def test_no_round_is_no_table() -> None:
    assert table([]) == ["no round was measured"]
    assert series([]) == {}
