"""The command line: `python -m shoal_bench`, also as `shoal bench`."""

import argparse
import sys
from collections.abc import Sequence
from typing import Final

from shoal_bench.commands import capacity, compare, echo, micro, peers, plot
from shoal_bench.commands import run as run_command
from shoal_bench.commands.output import INTERRUPTED, complain
from shoal_bench.order import EngineError
from shoal_bench.record import RecordError
from shoal_bench.scenario import ScenarioError
from shoal_bench.target import TargetError
from shoal_bench.watched import ServerFailed

_COMMANDS: Final = (run_command, capacity, compare, plot, peers, echo, micro)


def run(arguments: Sequence[str], program: str = "python -m shoal_bench") -> int:
    """Run one command; return the exit code: 0, 1 for a failure, 2 for a wrong command line, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(prog=program, description="Load tests for servers of the Open Inference Protocol.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in _COMMANDS:
        command.add(commands)
    try:
        given = parser.parse_args(list(arguments) or ["--help"])
    except SystemExit as end:
        return int(end.code or 0)
    try:
        return int(given.carry_out(given))
    except (TargetError, ScenarioError, RecordError, ServerFailed, EngineError) as error:
        return complain(str(error))
    except KeyboardInterrupt:
        complain("stopped by hand before anything was measured")
        return INTERRUPTED


def main() -> None:
    """Run the command line and end the process with its exit code."""
    sys.exit(run(sys.argv[1:]))
