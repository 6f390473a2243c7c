"""`compare A.json B.json`: what changed from A to B, how large the noise is, and whether that means anything."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from shoal_bench.commands.output import say
from shoal_bench.compare import Verdict, compare
from shoal_bench.record import RecordError, read
from shoal_bench.summary import change_lines

WORSE: Final = 3
_MATTERS: Final = ("cpu", "cpus", "architecture", "python")


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser("compare", help="compare two records", description=__doc__)
    parser.add_argument("before", type=Path, metavar="A.json")
    parser.add_argument("after", type=Path, metavar="B.json")
    parser.add_argument("--fail-when-worse", action="store_true", help=f"exit with {WORSE} if any metric is worse")
    parser.set_defaults(carry_out=carry_out)


def carry_out(given: argparse.Namespace) -> int:
    """Carry it out; return the exit code."""
    before, after = read(given.before), read(given.after)
    for warning in warnings(before, after):
        say(f"mind: {warning}")
    limited = bool(before.get("generator_limited") or after.get("generator_limited"))
    changes = compare(_series(before, given.before), _series(after, given.after), generator_limited=limited)
    if not changes:
        raise RecordError(f"{given.before} and {given.after} have no metric in common")
    for line in change_lines(changes):
        say(line)
    say("noise: the larger range over the median of the two records' windows or rounds; less than that is no change")
    worse = any(change.verdict is Verdict.WORSE for change in changes)
    return WORSE if worse and given.fail_when_worse else 0


def warnings(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return what makes two records hard to compare."""
    found = []
    if before["kind"] != after["kind"]:
        found.append(f"one is of `{before['kind']}`, the other of `{after['kind']}`")
    for name in _MATTERS:
        one, other = before.get("machine", {}).get(name), after.get("machine", {}).get(name)
        if one != other:
            found.append(f"{name} differs: {one} and {other}")
    for name, record in (("A", before), ("B", after)):
        if record.get("partial") or record.get("run", {}).get("partial"):
            found.append(f"{name} is partial")
        load, cpus = record.get("machine", {}).get("load_average"), record.get("machine", {}).get("cpus")
        if load and cpus and load[0] > cpus:
            found.append(f"{name} was measured while {load[0]} processes wanted the {cpus} CPUs")
    return found


def _series(record: Mapping[str, Any], path: Path) -> Mapping[str, Sequence[float]]:
    series = record.get("series")
    if not isinstance(series, dict) or not all(
        isinstance(values, list) and all(isinstance(value, int | float) for value in values)
        for values in series.values()
    ):
        raise RecordError(f"{path} has no series to compare")
    return series
