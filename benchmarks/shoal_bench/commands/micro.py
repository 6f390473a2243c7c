"""`micro`: what each step costs a request, alone (codec to encode), and the way through a batcher (serve)."""

import argparse
from pathlib import Path
from statistics import median

from shoal_bench.commands.output import say
from shoal_bench.record import machine, write
from shoal_bench.scenario import ScenarioError
from shoal_bench.target import TargetError


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser("micro", help="measure the server's single steps", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, metavar="N", help="values of each (default 7)")
    parser.add_argument("--record", type=Path, metavar="FILE", help="keep the figures as JSON")
    parser.set_defaults(carry_out=carry_out)


def carry_out(given: argparse.Namespace) -> int:
    """Carry it out; return the exit code."""
    if given.rounds < 1:
        raise ScenarioError("--rounds is at least 1")
    try:
        from shoal_bench import micro  # noqa: PLC0415 - only this needs the server's code
    except ImportError as error:
        raise TargetError(
            f"the steps are the server's, which needs {error.name}: pip install 'CHECKOUT[server]'"
        ) from error
    about = machine()
    times = micro.nanoseconds(given.rounds)
    counts, reason = micro.instructions()
    say(f"{'step':10}{'ns/request':>12}{'range':>16}{'instructions':>14}")
    for name, values in times.items():
        counted = f"{counts[name]:.0f}" if name in counts else "-"
        say(f"{name:10}{median(values):12.0f}{f'{min(values):.0f} to {max(values):.0f}':>16}{counted:>14}")
    if reason:
        say(f"instructions are not counted: {reason}")
    if given.record:
        series = {f"{name}/ns_per_request": values for name, values in times.items()}
        write(
            given.record,
            "micro",
            {"machine": about, "options": {"rounds": given.rounds}, "series": series, "instructions": counts},
        )
        say(f"the record is {given.record}")
    return 0
