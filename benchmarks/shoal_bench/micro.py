"""Costs of single operations: nanoseconds, and instructions where the machine counts them.

Time is taken in several rounds over all operations in turn, each as the least of a few passes: what else the machine
does only ever adds. Instructions are counted by `perf stat` over a process of its own that does the operation many
times; a second process that does it fewer times is subtracted, and with it the start of the interpreter.
"""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from time import perf_counter_ns
from typing import Final

from shoal_bench.operations import Operation, operations

_PASSES: Final = 5
_PASS_NS: Final = 10_000_000
_FEW: Final = 500
_MANY: Final = 2500
_COUNT_LIMIT_S: Final = 60.0


def nanoseconds(rounds: int, pass_ns: int = _PASS_NS) -> dict[str, list[float]]:
    """Return each operation's nanoseconds per request, one value per round of passes of about ``pass_ns``."""
    known = operations()
    repeats = {name: _repeats(operation, pass_ns) for name, operation in known.items()}
    found: dict[str, list[float]] = {name: [] for name in known}
    for _ in range(rounds):
        for name, operation in known.items():
            best = min(_time_ns(operation, repeats[name]) for _ in range(_PASSES))
            found[name].append(best / repeats[name] / operation.requests)
    return found


def instructions() -> tuple[dict[str, float], str]:
    """Return each operation's instructions per request in user mode; or none of them, and why."""
    found: dict[str, float] = {}
    for name, operation in operations().items():
        counted = []
        for times in (_FEW, _MANY):
            number, reason = _counted(["-m", "shoal_bench.micro", name, str(times)])
            if number is None:
                return {}, reason
            counted.append(number)
        found[name] = (counted[1] - counted[0]) / (_MANY - _FEW) / operation.requests
    return found, ""


def parse_perf(text: str) -> int | None:
    """Return the count of what `perf stat -x, -e instructions:u` wrote; None where it could not count."""
    for line in text.splitlines():
        fields = line.split(",")
        if len(fields) > 2 and fields[2].startswith("instructions") and fields[0].isdecimal():  # noqa: PLR2004
            return int(fields[0])
    return None


def _counted(arguments: Sequence[str]) -> tuple[int | None, str]:
    command = ["perf", "stat", "-x,", "-e", "instructions:u", sys.executable, *arguments]
    try:
        done = subprocess.run(  # noqa: S603 - our own module
            command, capture_output=True, text=True, check=False, timeout=_COUNT_LIMIT_S
        )
    except FileNotFoundError:
        return None, "perf is not installed"
    except subprocess.TimeoutExpired:
        return None, f"perf took more than {_COUNT_LIMIT_S:.0f} s"
    number = parse_perf(done.stderr)
    return number, "" if number is not None else "this machine does not let perf count instructions"


def _repeats(operation: Operation, pass_ns: int) -> int:
    """Return how often to do it so that a pass takes about ``pass_ns``."""
    operation.run()  # what it learns at first
    return max(1, pass_ns // max(_time_ns(operation, 1), 1))


def _time_ns(operation: Operation, times: int) -> int:
    run = operation.run
    began = perf_counter_ns()
    for _ in range(times):
        run()
    return perf_counter_ns() - began


def repeat(name: str, times: int) -> None:
    """Do one operation so many times: what `perf` watches."""
    known: Mapping[str, Operation] = operations()
    for _ in range(times):
        known[name].run()


if __name__ == "__main__":
    repeat(sys.argv[1], int(sys.argv[2]))
