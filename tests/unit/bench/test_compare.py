import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_bench.commands.compare import warnings
from shoal_bench.compare import Verdict, compare
from shoal_bench.summary import change_lines

VALUES = st.lists(st.floats(0.1, 1e6), min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("metric", "before", "after", "verdict"),
    [
        ("throughput_per_s", [100, 101, 102], [150, 151, 152], Verdict.BETTER),
        ("throughput_per_s", [150, 151, 152], [100, 101, 102], Verdict.WORSE),
        ("p99_ms", [100, 101, 102], [150, 151, 152], Verdict.WORSE),
        ("p99_ms", [150, 151, 152], [100, 101, 102], Verdict.BETTER),
        ("ratio to peer", [1.0, 1.0, 1.1], [2.0, 2.0, 2.1], Verdict.BETTER),
        ("shoal/goodput_per_s", [100, 101, 102], [150, 151, 152], Verdict.BETTER),
        ("codec/ns_per_request", [100, 101, 102], [150, 151, 152], Verdict.WORSE),
        ("p99_ms", [100, 150, 200], [160, 170, 180], Verdict.SAME),  # they overlap
        ("p99_ms", [100, 100, 160], [170, 171, 172], Verdict.WORSE),  # 71 % is more than the 60 % of the noise
        ("p99_ms", [100, 100, 199], [200, 201, 202], Verdict.WORSE),
        ("p99_ms", [100, 100, 110], [111, 111, 112], Verdict.WORSE),
        ("p99_ms", [100, 105, 110], [111, 112, 113], Verdict.SAME),  # apart, but by less than the noise
        ("p99_ms", [100, 100], [200, 200, 200], Verdict.UNKNOWN),
        ("p99_ms", [0, 0, 0], [0, 0, 0], Verdict.SAME),
    ],
)
def test_a_change_counts_when_it_exceeds_the_noise(
    metric: str, before: list[float], after: list[float], verdict: Verdict
) -> None:
    (change,) = compare({metric: before}, {metric: after})
    assert change.verdict is verdict


@given(VALUES)
def test_a_record_is_neither_better_nor_worse_than_itself(values: list[float]) -> None:
    (change,) = compare({"p99_ms": values}, {"p99_ms": values})
    assert change.verdict in (Verdict.SAME, Verdict.UNKNOWN)
    assert change.change == 0


@given(VALUES, VALUES)
def test_what_is_better_one_way_is_worse_the_other(some: list[float], others: list[float]) -> None:
    (there,) = compare({"goodput_per_s": some}, {"goodput_per_s": others})
    (back,) = compare({"goodput_per_s": others}, {"goodput_per_s": some})
    assert {there.verdict, back.verdict} != {Verdict.BETTER}
    assert {there.verdict, back.verdict} != {Verdict.WORSE}


def test_where_the_generator_was_the_limit_nothing_follows_but_for_the_servers_cpu_time() -> None:
    series = {"throughput_per_s": [1.0, 1.0, 1.0], "server_cpu_us_per_call": [9.0, 9.0, 9.0]}
    better = {name: [value * 2 for value in values] for name, values in series.items()}
    verdicts = [change.verdict for change in compare(series, better, generator_limited=True)]
    assert verdicts == [Verdict.GENERATOR, Verdict.WORSE]


def test_metrics_that_only_one_has_are_left_out() -> None:
    assert compare({"a": [1.0], "b": []}, {"b": [1.0], "c": [1.0]}) == []


def test_what_makes_records_hard_to_compare_is_said() -> None:
    quiet = {"kind": "run", "machine": {"cpus": 2, "cpu": "x", "load_average": [0.1, 0, 0]}}
    busy = {"kind": "run", "machine": {"cpus": 4, "cpu": "x", "load_average": [9.0, 0, 0]}, "run": {"partial": True}}
    assert warnings(quiet, quiet) == []
    assert warnings(quiet, busy) == [
        "cpus differs: 2 and 4",
        "B is partial",
        "B was measured while 9.0 processes wanted the 4 CPUs",
    ]


def test_the_columns_of_a_comparison_stay_apart() -> None:
    changes = compare({"codec/p99_ms": [1.0, 100.0, 99999.9]}, {"codec/p99_ms": [900.0, 1234567.8, 9e9]})
    assert change_lines(changes)[1].split(maxsplit=5)[5] == "within the noise"
    assert change_lines(changes)[0].split()[5] == "verdict"
