"""`run SCENARIO`: put one load on a server and tell what it showed."""

import argparse
from pathlib import Path
from typing import Any

from shoal_bench.commands.load_flags import add_load_flags, conducting, configuration, scenario_of
from shoal_bench.commands.output import INTERRUPTED, complain, say
from shoal_bench.record import machine, write
from shoal_bench.result import Ended
from shoal_bench.summary import run_lines, window_line


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser("run", help="put a scenario's load on a server", description=__doc__)
    add_load_flags(parser)
    parser.add_argument(
        "--record", type=Path, metavar="FILE", help="keep everything as JSON, also of a run that breaks off"
    )
    parser.set_defaults(carry_out=carry_out)


def carry_out(given: argparse.Namespace) -> int:
    """Carry it out; return the exit code."""
    scenario = scenario_of(given)
    about = machine()
    with conducting(given, scenario) as conductor:
        say(f"{scenario.name}: {scenario.summary}")
        say(f"load generator: {conductor.engine}")
        conducted = conductor.run(lambda number, window: say("  " + window_line(number, window)))
    for line in run_lines(conducted):
        say(line)
    if given.record:
        content: dict[str, Any] = {
            "machine": about,
            "options": configuration(given),
            "engine": conductor.engine,
            "generator_limited": bool(conducted.run.generator_limit),
            "series": conducted.run.series(),
            "run": conducted.to_json(),
        }
        write(given.record, "run", content)
        say(f"the record is {given.record}")
    if conducted.failure:
        return complain(conducted.failure)
    return INTERRUPTED if conducted.run.ended is Ended.INTERRUPTED else 0
