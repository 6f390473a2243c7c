"""The flags that say which load is put on which server, shared by the commands that put one."""

import argparse
import json
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from shoal_bench.commands.tls_flags import add_tls_flags, tls_of
from shoal_bench.conduct import Conductor, rescaled, see_that_it_outlasts
from shoal_bench.engines import engine_for, engine_named
from shoal_bench.order import Closed
from shoal_bench.payloads import Array
from shoal_bench.scenario import Scenario, ScenarioError, built_in, load_scenario, read_trace
from shoal_bench.site import at_target, our_own
from shoal_bench.target import Target

_MEASURING = ("processes", "warm_up_s", "window_s", "limit_s", "tolerance", "timeout_s", "in_time_ms", "seed")


def add_load_flags(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    """Add them; without a ``default`` a scenario has to be named."""
    parser.add_argument(
        "scenario",
        nargs=None if default is None else "?",
        default=default,
        metavar="SCENARIO",
        help=f"{', '.join(built_in())}, or a file that ends in .toml",
    )
    parser.add_argument("--target", metavar="HOST:PORT", help="a server that runs (default: Shoal's own, started here)")
    parser.add_argument(
        "--pid", type=int, metavar="N", help="the target's process, where it cannot be found by its port"
    )
    parser.add_argument("--model", metavar="NAME", help="one model in place of all of the scenario's")
    parser.add_argument(
        "--input", type=Path, metavar="FILE", help="the arrays to send: .npz, or .json with {input: list}"
    )
    load = parser.add_mutually_exclusive_group()
    load.add_argument(
        "--concurrency", type=int, metavar="N", help="closed loop of so many callers, whatever the scenario"
    )
    load.add_argument("--rate", type=float, metavar="R", help="the scenario's arrivals at so many calls per second")
    load.add_argument("--trace", type=Path, metavar="FILE", help="recorded arrivals: one offset in seconds a line")
    parser.add_argument("--speed", type=float, metavar="X", help="play the trace so many times as fast")
    parser.add_argument("--processes", type=int, metavar="N", help="client processes")
    parser.add_argument("--warm-up-s", type=float, metavar="S", help="discarded at the start")
    parser.add_argument("--window-s", type=float, metavar="S", help="the length of a window")
    parser.add_argument("--limit-s", type=float, metavar="S", help="the longest time, the warm-up not counted")
    parser.add_argument("--until-limit", action="store_true", help="do not end when the last three windows agree")
    parser.add_argument("--tolerance", type=float, metavar="X", help="how far the windows may differ (0.10)")
    parser.add_argument("--timeout-s", type=float, metavar="S", help="the deadline of a call")
    parser.add_argument("--in-time-ms", type=float, metavar="MS", help="up to which latency a call is goodput")
    parser.add_argument("--seed", type=int, metavar="N", help="decides arrivals and payloads (0)")
    parser.add_argument(
        "--engine",
        default="auto",
        metavar="NAME",
        help="load generator: auto (default: native where it is built), native, python, or MODULE:CLASS",
    )
    add_tls_flags(parser)


def scenario_of(given: argparse.Namespace) -> Scenario:
    """Return the scenario with what the flags change.

    Raises:
        ScenarioError: it does not exist, or a flag's value cannot be.
    """
    scenario = load_scenario(given.scenario)
    changes: dict[str, Any] = {
        name: getattr(given, name) for name in _MEASURING if getattr(given, name, None) is not None
    }
    if given.until_limit:
        changes["until_limit"] = True
    try:
        scenario = replace(scenario, measuring=replace(scenario.measuring, **changes))
        if given.concurrency is not None:
            scenario = replace(scenario, load=Closed(given.concurrency), of_capacity=0.0)
        elif given.rate is not None:
            scenario = replace(scenario, load=rescaled(scenario.load, given.rate), of_capacity=0.0)
        elif given.trace is not None:
            scenario = replace(
                scenario, load=replace(read_trace(given.trace), speed=given.speed or 1.0), of_capacity=0.0
            )
    except ValueError as error:
        raise ScenarioError(str(error)) from error
    if given.speed is not None and given.trace is None:
        raise ScenarioError("--speed is for a --trace")
    see_that_it_outlasts(scenario.load, scenario.measuring.warm_up_s)  # before anything is started
    return scenario if given.model is None else scenario.for_model(given.model)


def arrays_of(path: Path | None) -> Mapping[str, Array] | None:
    """Return the arrays of a file; None without one.

    Raises:
        ScenarioError: it cannot be read, or holds something else.
    """
    if path is None:
        return None
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                return dict(file)
        value = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(value, dict):
            raise ScenarioError(f"{path} has no object of inputs: {{name: list}}")
        return {name: _array(elements) for name, elements in value.items()}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise ScenarioError(f"the arrays of {path} cannot be read: {error}") from error


def _array(elements: object) -> Array:
    array: Array = np.array(elements)
    return array.astype(object) if array.dtype.kind == "U" else array


@contextmanager
def conducting(given: argparse.Namespace, scenario: Scenario) -> Iterator[Conductor]:
    """Give the conductor of a scenario at the target, or at a server that is started for it.

    Raises:
        TargetError: the target is not there, or does not take what would be sent.
        ScenarioError: the arrays cannot be read, or there is no such engine.
    """
    arrays, tls = arrays_of(given.input), tls_of(given)
    if given.engine != "auto":
        engine_named(given.engine)  # before anything is started
    site = at_target(given.target, given.pid) if given.target else our_own(scenario.models)
    with site as found, Target(found.address, tls=tls) as target:
        yield Conductor(scenario, found, target, engine_for(given.engine, found.address), arrays)


def configuration(given: argparse.Namespace) -> dict[str, Any]:
    """Return the flags as a record holds them; of a path its last part, for the rest is of this machine alone."""
    return {
        name: value.name if isinstance(value, Path) else value
        for name, value in vars(given).items()
        if name != "carry_out" and value is not None
    }
