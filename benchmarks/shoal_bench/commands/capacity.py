"""`capacity SCENARIO`: search for the highest rate at which p99 stays within a target."""

import argparse
import math
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final

from shoal_bench.arrivals import count_between
from shoal_bench.capacity import Found, Outcome, Search, Try
from shoal_bench.commands.load_flags import add_load_flags, conducting, configuration, scenario_of
from shoal_bench.commands.output import INTERRUPTED, complain, say
from shoal_bench.conduct import Conductor, rescaled
from shoal_bench.record import machine, write
from shoal_bench.result import Ended, Run
from shoal_bench.scenario import Scenario, ScenarioError
from shoal_bench.tally import OK

_HIGHEST: Final = 1_000_000.0
_MOST_FAILED: Final = 0.001
_CHANCE: Final = 4.0  # standard deviations of independent callers
_EDGE: Final = 0.01  # of the calls: windows do not end to the microsecond


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser("capacity", help="search for the highest rate that holds", description=__doc__)
    add_load_flags(parser)
    parser.add_argument("--p99-ms", type=float, default=20.0, metavar="MS", help="the target (default 20)")
    parser.add_argument("--first-rate", type=float, default=100.0, metavar="R", help="where to begin (default 100)")
    parser.add_argument(
        "--precision", type=float, default=0.05, metavar="X", help="how narrow to search (default 0.05)"
    )
    parser.add_argument("--windows", type=int, default=3, metavar="N", help="windows of each trial (default 3)")
    parser.add_argument("--searches", type=int, default=1, metavar="N", help="whole searches; `compare` needs 3")
    parser.add_argument(
        "--record", type=Path, metavar="FILE", help="keep everything as JSON, also of a search that breaks off"
    )
    parser.set_defaults(carry_out=carry_out)


@dataclass(slots=True)
class _Searched:
    trials: list[dict[str, Any]] = field(default_factory=list)
    found: list[Found] = field(default_factory=list)
    ended: str = ""
    interrupted: bool = False


def carry_out(given: argparse.Namespace) -> int:
    """Carry it out; return the exit code."""
    if min(given.windows, given.searches) < 1 or not given.p99_ms > 0:
        raise ScenarioError("--windows and --searches are at least 1, --p99-ms is positive")
    scenario = scenario_of(given)
    about = machine()
    searched = _Searched()
    with conducting(given, scenario) as conductor:
        say(f"load generator: {conductor.engine}")
        for _ in range(given.searches):
            _search(given, conductor, scenario, searched)
            if searched.ended:
                break
    rates = [found.rate for found in searched.found if found.rate is not None]
    if given.record:
        write(
            given.record,
            "capacity",
            {
                "machine": about,
                "options": configuration(given),
                "engine": conductor.engine,
                "partial": bool(searched.ended),
                "generator_limited": any(found.at_least for found in searched.found),
                "series": {"capacity_per_s": rates},
                "scenario": scenario.to_json(),
                "trials": searched.trials,
            },
        )
        say(f"the record is {given.record}")
    if searched.ended:
        complain(searched.ended)
        return INTERRUPTED if searched.interrupted else 1
    return 0 if rates else complain(f"no rate holds p99 <= {given.p99_ms:g} ms")


def _search(given: argparse.Namespace, conductor: Conductor, scenario: Scenario, searched: _Searched) -> None:
    try:
        search = Search(given.first_rate, _HIGHEST, given.precision)
    except ValueError as error:
        raise ScenarioError(str(error)) from error
    while isinstance(step := search.next(), Try):
        load = rescaled(scenario.load, step.rate)
        run = conductor.load(load, lambda _number, _window: None, given.windows)
        if not run.ended.whole:
            searched.ended, searched.interrupted = run.reason, run.ended is Ended.INTERRUPTED
            searched.trials.append({"rate": step.rate, "outcome": None, **run.to_json()})
            return
        warm_up_s = scenario.measuring.warm_up_s
        until_s = warm_up_s + run.measured().duration_s
        sent = count_between(load, scenario.measuring.seed, warm_up_s, until_s)
        outcome = judge(run, given.p99_ms / 1e3, sent)
        searched.trials.append({"rate": step.rate, "outcome": outcome.value, **run.to_json()})
        say(
            f"  {step.rate:8.1f}/s: {run.measured().throughput:8.1f}/s OK, p99 "
            f"{judged_p99_s(run) * 1e3:8.2f} ms: {outcome.value.replace('_', ' ')}"
            + (f" ({run.generator_limit})" if outcome is Outcome.GENERATOR_LIMIT else "")
        )
        search.learn(outcome)
    searched.found.append(step)
    say(found_line(step, given.p99_ms, conductor.engine))


def found_line(found: Found, p99_ms: float, engine: str) -> str:
    """Return what a search with a load generator of that name found, in words."""
    if found.rate is None:
        return f"no rate from 1/s on holds p99 <= {p99_ms:g} ms"
    if found.at_least:
        # The native one is a single thread, whatever --processes says.
        more = "more --processes or another --engine" if engine == "python" else "a machine of the generator's own"
        return (
            f"capacity >= {found.rate:.1f}/s at p99 <= {p99_ms:g} ms. THE LOAD GENERATOR WAS THE LIMIT, NOT THE "
            f"SERVER: {more} would show more"
        )
    return f"capacity {found.rate:.1f}/s at p99 <= {p99_ms:g} ms"


def judge(run: Run, p99_s: float, sent: int) -> Outcome:
    """Return what a trial of ``sent`` calls in its windows showed.

    It holds where hardly a call fails, the p99 of the others is within the target, and calls end as fast as they are
    sent.
    """
    everything, measured = run.everything(), run.measured()
    failed = everything.statuses.total() - everything.statuses[OK]
    if (
        judged_p99_s(run) <= p99_s
        and failed <= _MOST_FAILED * everything.statuses.total()
        and sent - measured.ended <= _most_behind(sent, measured.duration_s, p99_s)
    ):
        return Outcome.HELD
    return Outcome.GENERATOR_LIMIT if run.generator_limit else Outcome.FAILED


def judged_p99_s(run: Run) -> float:
    """Return the median of the windows' p99, in seconds; infinity where no call ended well.

    So one interruption of a shared machine does not decide; a queue that grows shows in most windows, or in what is
    still under way at their end.
    """
    p99s = [window.tally.latencies.percentile_s(0.99) for window in run.windows if window.tally.statuses[OK]]
    return median(p99s) if p99s else math.inf


def _most_behind(sent: int, duration_s: float, p99_s: float) -> float:
    """Return how many calls may be under way at the end where none takes longer than the target, chance allowed for."""
    under_way = sent / duration_s * p99_s if duration_s else 0.0
    return under_way + _CHANCE * math.sqrt(under_way + 1) + _EDGE * sent
