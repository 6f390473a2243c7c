import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shoal_bench import engines
from shoal_bench.arrivals import Poisson, Trace
from shoal_bench.capacity import Found
from shoal_bench.commands.capacity import found_line
from shoal_bench.commands.load_flags import add_load_flags, arrays_of, configuration, scenario_of
from shoal_bench.commands.tls_flags import tls_of
from shoal_bench.engines import engine_named
from shoal_bench.order import Closed
from shoal_bench.processes import ProcessEngine
from shoal_bench.scenario import ScenarioError


def parsed(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_load_flags(parser)
    return parser.parse_args(arguments)


def test_flags_change_what_they_name_and_nothing_else() -> None:
    scenario = scenario_of(parsed("steady", "--rate", "40", "--model", "m", "--window-s", "1", "--until-limit"))
    assert scenario.load == Poisson(40)
    assert scenario.models == ("m",)
    assert (scenario.measuring.window_s, scenario.measuring.until_limit, scenario.measuring.warm_up_s) == (1, True, 2)


def test_a_rate_that_is_given_needs_no_capacity() -> None:
    assert scenario_of(parsed("overload_3x")).of_capacity == 3
    assert scenario_of(parsed("overload_3x", "--rate", "500")).of_capacity == 0
    assert scenario_of(parsed("steady", "--concurrency", "3")).load == Closed(3)


def test_a_trace_is_played_as_fast_as_asked(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("0\n1\n")
    flags = ["--trace", str(tmp_path / "t"), "--speed", "4", "--warm-up-s", "0.1"]
    assert scenario_of(parsed("steady", *flags)).load == Trace((0, 1), 4)


def test_a_trace_that_ends_in_the_warm_up_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("0\n7\n")
    assert scenario_of(parsed("steady", "--trace", str(tmp_path / "t"))).load == Trace((0, 7))
    with pytest.raises(ScenarioError, match=r"the trace lasts 1\.75 s, less than the warm-up of 2 s"):
        scenario_of(parsed("steady", "--trace", str(tmp_path / "t"), "--speed", "4"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["steady", "--rate", "0"], "rate is positive"),
        (["steady", "--concurrency", "0"], "at least 1"),
        (["steady", "--processes", "0"], "processes is 1 to 64"),
        (["steady", "--window-s", "-1"], "positive"),
        (["steady", "--speed", "2"], "--speed is for a --trace"),
        (["steady", "--trace", "gone"], "No such file"),
    ],
)
def test_flags_that_cannot_be_are_refused(arguments: list[str], words: str) -> None:
    with pytest.raises(ScenarioError, match=words):
        scenario_of(parsed(*arguments))


def test_a_record_tells_the_flags_that_were_given() -> None:
    told = configuration(parsed("steady", "--rate", "40", "--input", "x.npz"))
    assert (told["rate"], told["input"], told["scenario"]) == (40, "x.npz", "steady")
    assert "seed" not in told


def test_arrays_are_read_from_json_and_npz(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"x": [[1, 2]], "t": ["a", "b"]}')
    np.savez(tmp_path / "a.npz", x=np.zeros((1, 2), np.float32))
    assert arrays_of(None) is None
    found = arrays_of(tmp_path / "a.json")
    assert found is not None
    assert found["x"].tolist() == [[1, 2]]
    assert found["t"].dtype.kind == "O"
    zipped = arrays_of(tmp_path / "a.npz")
    assert zipped is not None
    assert zipped["x"].dtype == np.float32


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", b"[1, 2]"),
        ("a.json", b"{"),
        ("b.json", b'{"x": [[1], [1, 2]]}'),
        ("c.json", b"\xff"),
        ("a.npz", b"no zip"),
    ],
)
def test_arrays_that_cannot_be_read_are_refused(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ScenarioError, match=name):
        arrays_of(tmp_path / name)


class Generator:
    """A load generator of somebody's own."""

    name = "own"

    def senders(self, order: object) -> int:
        raise NotImplementedError(order)

    def start(self, order: object) -> Any:  # noqa: ANN401
        raise NotImplementedError(order)


def test_another_engine_is_plugged_in_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(engine_named("python"), ProcessEngine)
    monkeypatch.setattr(argparse, "Generator", Generator, raising=False)
    assert isinstance(engine_named("argparse:Generator"), Generator)


@pytest.mark.parametrize(("built", "chosen"), [(True, "native"), (False, "python")])
def test_the_native_engine_is_chosen_where_it_is_built(
    built: bool,  # noqa: FBT001 - a case
    chosen: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(engines, "find_spec", lambda _name: object() if built else None)
    monkeypatch.setattr(engines, "engine_named", asked.append)
    engines.engine_for("auto", "127.0.0.1:8001")
    engines.engine_for("auto", "[::1]:8001")
    engines.engine_for("auto", "unix:/run/server.sock")
    engines.engine_for("python", "127.0.0.1:8001")
    assert asked == [chosen, chosen, "python", "python"]


def test_the_native_engine_refuses_a_target_that_it_cannot_reach() -> None:
    with pytest.raises(ScenarioError, match="needs a target HOST:PORT, not 'dns:///server:1'"):
        engines.engine_for("native", "dns:///server:1")


def test_where_the_native_engine_is_not_built_it_is_said_what_builds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "shoal_native", None)
    monkeypatch.delitem(sys.modules, "shoal_bench.native_engine", raising=False)
    with pytest.raises(ScenarioError, match="`make native` builds it"):
        engine_named("native")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--certificate", "a.pem"], "go with a --ca"),
        (["--ca", "ca.pem"], "is for a --target"),
        (["--ca", "ca.pem", "--target", "a:1", "--key", "a.key"], "--certificate and --key go together"),
        (["--ca", "gone.pem", "--target", "a:1"], "gone.pem cannot be read: No such file"),
    ],
)
def test_flags_of_tls_that_cannot_be_are_refused(flags: list[str], words: str) -> None:
    with pytest.raises(ScenarioError, match=words):
        tls_of(parsed("steady", *flags))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("rust", "there is no engine 'rust'"),
        ("gone_module:Engine", "cannot be had"),
        ("argparse:Engine", "cannot be had"),
        ("builtins:dict", "is no engine"),
    ],
)
def test_an_engine_that_is_none_is_refused(name: str, words: str) -> None:
    with pytest.raises(ScenarioError, match=words):
        engine_named(name)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (Found(None, at_least=False), "no rate from 1/s on holds"),
        (Found(100.0, at_least=False), "capacity 100.0/s at p99 <= 20 ms"),
        (Found(100.0, at_least=True), "capacity >= 100.0/s at p99 <= 20 ms. THE LOAD GENERATOR WAS THE LIMIT"),
    ],
)
def test_a_search_says_whose_limit_it_found(found: Found, words: str) -> None:
    assert found_line(found, 20, "python").startswith(words)


@pytest.mark.parametrize(("engine", "hint"), [("python", "more --processes"), ("native", "a machine of")])
def test_what_would_show_more_is_something_that_the_generator_heeds(engine: str, hint: str) -> None:
    assert f"SERVER: {hint}" in found_line(Found(100.0, at_least=True), 20, engine)
