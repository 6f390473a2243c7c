"""`peers`: the same load on Shoal, MLServer and the KServe SDK, in turn, round after round; prints the ratios.

All servers run throughout, over the same model files, and what counts are the ratios within a round: a machine whose
speed drifts drifts for all.
"""

import argparse
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from shoal_bench.commands.load_flags import add_load_flags, arrays_of, configuration, scenario_of
from shoal_bench.commands.output import INTERRUPTED, complain, say
from shoal_bench.commands.tls_flags import tls_of
from shoal_bench.conduct import Conductor
from shoal_bench.engines import engine_for
from shoal_bench.peers.start import PEERS, peer, version_of
from shoal_bench.record import load_average, machine, write
from shoal_bench.result import Ended, Run
from shoal_bench.scenario import Scenario, ScenarioError
from shoal_bench.site import Site, at_target, our_own
from shoal_bench.target import Target
from shoal_bench.versus import OURS, Rounds, series, table


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser("peers", help="measure Shoal and other servers in turn", description=__doc__)
    for name in PEERS:
        parser.add_argument(
            f"--{name}", type=Path, metavar="VENV", help=f"the environment in which {name} is installed"
        )
    parser.add_argument(
        "--other", action="append", default=[], metavar="NAME=HOST:PORT", help="a server that runs and has the models"
    )
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="rounds over all servers (default 5)")
    parser.add_argument(
        "--record", type=Path, metavar="FILE", help="keep everything as JSON, also of a run that breaks off"
    )
    add_load_flags(parser, default="peers")
    parser.set_defaults(carry_out=carry_out)


def carry_out(given: argparse.Namespace) -> int:
    """Carry it out; return the exit code."""
    scenario = scenario_of(given)
    if given.rounds < 1:
        raise ScenarioError("--rounds is at least 1")
    if scenario.of_capacity or scenario.swap_every_s:
        raise ScenarioError(f"'{scenario.name}' is not one load for all servers; give --rate or another scenario")
    about = {
        "machine": machine(),
        "peers": {name: version_of(name, getattr(given, name)) for name in PEERS if getattr(given, name)},
        "options": configuration(given),
        "scenario": scenario.to_json(),
    }
    rounds: list[dict[str, Run]] = []
    failure = ""
    with ExitStack() as stack:
        conductors = _conductors(given, scenario, stack)
        if len(conductors) == 1:
            raise ScenarioError(
                "there is nobody to compare with: give --mlserver, --kserve or --other (README tells how)"
            )
        engines = {name: conductor.engine for name, conductor in conductors.items()}
        say("load generator: " + ", ".join(sorted(set(engines.values()))))
        try:
            for number in range(1, given.rounds + 1):
                failure = _round(number, conductors, rounds)
                if failure:
                    break
        except KeyboardInterrupt:
            failure = "stopped by hand"
    for line in table(rounds):
        say(line)
    if given.record:
        _record(given.record, {**about, "engines": engines}, rounds, failure)
    if failure:
        complain(failure)
        return INTERRUPTED if failure == "stopped by hand" else 1
    return 0


def _conductors(given: argparse.Namespace, scenario: Scenario, stack: ExitStack) -> dict[str, Conductor]:
    ours = at_target(given.target, given.pid) if given.target else our_own(scenario.models)
    sites: dict[str, Site] = {OURS: stack.enter_context(ours)}
    repository = sites[OURS].repository
    scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    for name in PEERS:
        venv = getattr(given, name)
        if venv is None:
            continue
        if repository is None:
            raise ScenarioError(f"--{name} is given the models of our own server; with --target, name it by --other")
        say(f"starting {name} {version_of(name, venv) or ''}")
        sites[name] = stack.enter_context(peer(name, venv, repository, scenario.models, scratch))
    for other in given.other:
        name, equals, address = other.partition("=")
        if not (name and equals and address) or name in sites:
            raise ScenarioError(f"--other is NAME=HOST:PORT with a new name, got {other!r:.80}")
        sites[name] = stack.enter_context(at_target(address, None))
    arrays, tls = arrays_of(given.input), tls_of(given)
    return {
        name: Conductor(
            scenario,
            site,
            stack.enter_context(Target(site.address, tls=tls if name == OURS else None)),
            engine_for(given.engine, site.address),
            arrays,
        )
        for name, site in sites.items()
    }


def _round(number: int, conductors: Mapping[str, Conductor], rounds: list[dict[str, Run]]) -> str:
    """Measure each once, beginning with another each time; return why it broke off, empty where it did not."""
    names = list(conductors)
    first = number % len(names)
    measured: dict[str, Run] = {}
    for name in names[first:] + names[:first]:
        conducted = conductors[name].run(lambda _number, _window: None)
        if conducted.run.ended is Ended.INTERRUPTED:
            return "stopped by hand"
        if conducted.failure:
            return f"{name}: {conducted.failure}"
        measured[name] = conducted.run
    rounds.append({name: measured[name] for name in names})
    rates = [f"{name} {run.measured().throughput:.0f}/s" for name, run in rounds[-1].items()]
    say(f"round {number}: {', '.join(rates)}")
    return ""


def _record(path: Path, about: Mapping[str, Any], rounds: Rounds, failure: str) -> None:
    content: dict[str, Any] = {
        **about,
        "load_average_after": load_average(),
        "partial": bool(failure),
        "reason": failure,
        "generator_limited": any(run.generator_limit for measured in rounds for run in measured.values()),
        "series": series(rounds),
        "rounds": [{name: run.to_json() for name, run in measured.items()} for measured in rounds],
    }
    write(path, "peers", content)
    say(f"the record is {path}")
