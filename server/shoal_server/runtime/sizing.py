"""How many threads one run of a model is worth, and how many runs may then be under way at once. Pure."""

from dataclasses import dataclass
from math import floor
from typing import Final

WORTH_TRYING_S: Final = 2e-3
"""A run that takes no longer has one thread."""

QUICK_S: Final = 1e-3
"""A full batch that takes no longer runs on one thread of the server."""

_WORTH_HAVING: Final = 1.5


@dataclass(frozen=True, slots=True)
class Sizing:
    """``intra_op_threads`` within one run, and ``slots``: how many such runs fill the processor; both >= 1."""

    slots: int
    intra_op_threads: int


def quick(full_batch_s: float) -> Sizing | None:
    """Return the sizing of a model whose fullest batches are over at once; None for other models.

    One thread runs more of these than the wire can bring. A second would take the interpreter's lock from the first and
    from the loop, and take half of the rows that would have shared a batch.
    """
    return Sizing(1, 1) if full_batch_s <= QUICK_S else None


def threads_worth_trying(cpus: float, run_s: float) -> int:
    """Return how many threads may speed up a run that takes ``run_s`` with one; 1 where it is not worth finding out."""
    return max(1, floor(cpus)) if run_s > WORTH_TRYING_S else 1


def choose(cpus: float, run_s: float, threads: int, parallel_run_s: float) -> Sizing:
    """Choose between one thread and several, by the time that a run of one row takes with each.

    Several threads in one run do less in all than as many runs with one thread each, so they are kept only where a
    caller who is alone gets his answer much sooner.
    """
    return sized(cpus, threads if run_s >= parallel_run_s * _WORTH_HAVING else 1)


def sized(cpus: float, threads: int) -> Sizing:
    """Return how many runs of so many threads the processor has room for."""
    return Sizing(max(1, floor(cpus / threads)), threads)
