from pathlib import Path

import pytest

from shoal_bench.arrivals import Burst, Constant, Poisson, Trace
from shoal_bench.order import Closed
from shoal_bench.scenario import ScenarioError, built_in, load_scenario, parse, read_trace

WHOLE = """
summary = "All there is."
of_capacity = 2
[load]
kind = "burst"
rate = 1
burst_rate = 10
period_s = 2
burst_s = 0.5
[[request]]
model = "a"
rows = 4
lengths = [8, 64]
[[request]]
model = "b"
weight = 3
[measure]
processes = 3
in_time_ms = 50
"""
LOAD = '[load]\nkind = "poisson"\nrate = 5\n'
REQUEST = '[[request]]\nmodel = "m"\n'


def test_the_scenarios_of_the_package_are_those_that_the_readme_names() -> None:
    assert set(built_in()) == {
        "steady",
        "burst",
        "overload_3x",
        "mixed_models",
        "mixed_lengths",
        "large_tensors",
        "swap_under_load",
        "soak",
        "peers",
    }
    assert all(built_in().values())


def test_a_scenario_is_read_whole() -> None:
    scenario = parse(WHOLE, "whole")
    assert scenario.load == Burst(1, 10, 2, 0.5)
    assert scenario.models == ("a", "b")
    assert [(one.rows, one.weight, one.lengths) for one in scenario.requests] == [(4, 1.0, (8, 64)), (1, 3, (16, 16))]
    assert (scenario.measuring.processes, scenario.measuring.in_time_ms, scenario.of_capacity) == (3, 50, 2)
    assert scenario.for_model("c").models == ("c",)


@pytest.mark.parametrize(
    ("kind", "load"),
    [
        ('kind = "closed"\nconcurrency = 8', Closed(8)),
        ('kind = "constant"\nrate = 2.5', Constant(2.5)),
        ('kind = "poisson"\nrate = 5', Poisson(5)),
    ],
)
def test_every_kind_of_load_can_be_asked_for(kind: str, load: object) -> None:
    assert parse(f'summary = ""\n[load]\n{kind}\n{REQUEST}', "x").load == load


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("summary = ", "is no TOML"),
        (f'summary = ""\n{REQUEST}', r"needs a table \[load\]"),
        (f'summary = ""\n{LOAD}', r"at least one \[\[request\]\]"),
        (f'summary = ""\nrat = 3\n{LOAD}{REQUEST}', "'rat' means nothing here"),
        (f"{LOAD}{REQUEST}", "summary"),
        (f'summary = ""\n[load]\nkind = "wave"\n{REQUEST}', "kind is one of closed, constant, poisson, burst"),
        (f'summary = ""\n[load]\nkind = "poisson"\n{REQUEST}', "rate"),
        (f'summary = ""\n[load]\nkind = "poisson"\nrate = 0\n{REQUEST}', "rate is positive"),
        (f'summary = ""\n[load]\nkind = "poisson"\nrate = "5"\n{REQUEST}', "rate is a float, got '5'"),
        (f'summary = ""\n[load]\nkind = "closed"\nconcurrency = 0\n{REQUEST}', "concurrency is at least 1"),
        (f'summary = ""\n{LOAD}{REQUEST}rows = 0', "rows and variants"),
        (f'summary = ""\n{LOAD}{REQUEST}lengths = [8]', "the smallest and the largest"),
        (f'summary = ""\n{LOAD}{REQUEST}lengths = ["a", "b"]', "not supported between"),
        (f'summary = ""\n{LOAD}{REQUEST}rows = true', "rows is a int, got True"),
        (f'summary = ""\n{LOAD}{REQUEST}[measure]\nprocesses = 100', "1 to 64"),
        (f'summary = ""\n{LOAD}{REQUEST}[measure]\nwindow_s = 0', "positive"),
        (f'summary = ""\n{LOAD}{REQUEST}[measure]\nwindows = 3', "'windows' means nothing here"),
    ],
)
def test_a_scenario_that_is_wrong_is_refused_with_the_reason(text: str, words: str) -> None:
    with pytest.raises(ScenarioError, match=words):
        parse(text, "wrong")


def test_a_scenario_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(ScenarioError, match="there are burst, large_tensors"):
        load_scenario("stedy")


def test_a_trace_is_read_from_a_file_of_offsets(tmp_path: Path) -> None:
    file = tmp_path / "trace.txt"
    file.write_text("# recorded on a Monday\n0\n0.25\n\n1.5  # the last\n")
    assert read_trace(file) == Trace((0.0, 0.25, 1.5))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "at least one arrival"),
        ("0\nsoon\n", "line 2: 'soon' is no offset"),
        ("2\n1\n", "ascend"),
        ("\xff", "trace"),
    ],
)
def test_a_trace_that_is_none_is_refused(text: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "trace.txt"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(ScenarioError, match=words):
        read_trace(file)


def test_a_trace_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="No such file"):
        read_trace(tmp_path / "gone.txt")
