"""`echo`: the server's inferences per second, over the calls per second of a bare echo that carries the same bytes."""

import argparse
import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import Final

from shoal_bench.commands.output import say
from shoal_bench.echo_ratio import Options, measure
from shoal_bench.record import machine, write
from shoal_bench.report import verdict
from shoal_bench.scenario import ScenarioError

_TARGET: Final = 0.6


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser("echo", help="measure against a bare echo of the same bytes", description=__doc__)
    parser.add_argument("--in-flight", type=int, default=64, metavar="N", help="calls under way at once (default 64)")
    parser.add_argument("--calls", type=int, default=6000, metavar="N", help="calls per round and side (default 6000)")
    parser.add_argument("--rounds", type=int, default=7, metavar="N", help="rounds, the sides in turn (default 7)")
    parser.add_argument("--record", type=Path, metavar="FILE", help="write all figures, with the machine's, as JSON")
    parser.set_defaults(carry_out=carry_out)


def carry_out(given: argparse.Namespace) -> int:
    """Carry it out; return the exit code."""
    if min(given.in_flight, given.calls, given.rounds) < 1:
        raise ScenarioError("--in-flight, --calls and --rounds are at least 1")
    options = Options(given.in_flight, given.calls, given.rounds)
    about = machine()
    rounds = asyncio.run(measure(options, progress=say))
    say(verdict(rounds, _TARGET))
    if given.record:
        series = {
            "ratio": [one.server.rate / one.echo.rate for one in rounds],
            "server/throughput_per_s": [one.server.rate for one in rounds],
            "server/server_cpu_us_per_call": [one.server.cpu_us for one in rounds],
            "server/p99_ms": [one.server.p99_ms for one in rounds],
        }
        content = {
            "machine": about,
            "options": asdict(options),
            "series": series,
            "rounds": [asdict(one) for one in rounds],
        }
        write(given.record, "echo", content)
    return 0
