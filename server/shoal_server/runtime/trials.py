"""Runs of a model, timed as they would be under way when the server is busy."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final, TypeAlias

from shoal_server.clock import Clock
from shoal_server.errors import ExecutionFailed
from shoal_server.runtime.made_up import Execute
from shoal_server.runtime.sizing import Sizing, Trial, larger
from shoal_server.tensors.batch import Array

Inputs: TypeAlias = Sequence[Array | None]

_RUNS: Final = 2  # of a first trial, of which the shorter counts: memory is set out in the first
_PASSES: Final = 3  # over all trials, as what keeps a machine busy lasts longer than a few runs
_GROWTH: Final = 2.0  # times what the last trial took, the next one should take


class Trials:
    """Times runs of a session, more rows each time, until more do not pay or the time is up.

    A run on one thread counts with the time that its thread had a processor, ``own_s``, so that it does not matter what
    else the machine does meanwhile; one on several can only be timed from outside. Even the former is longer where
    neighbours want the same caches, or a hypervisor has taken the processor away, for a second perhaps. So all are
    timed anew where there is time, in turn with those of another session (``take_turns``).
    """

    def __init__(  # noqa: PLR0913, PLR0917 - what is run, where, and by what clocks
        self,
        clock: Clock,
        own_s: Callable[[], float],
        sizing: Sizing,
        execute: Execute,
        draw: Callable[[int], Inputs],
        most_rows: int,
    ) -> None:
        """``draw`` makes inputs of so many rows."""
        self._clock = clock
        self._own_s = own_s
        self.sizing = sizing
        self._execute = execute
        self._draw = draw
        self._most_rows = most_rows
        self.known: list[Trial] = []
        """Ascending by rows."""

    def begin(self, until_s: float) -> None:
        """Make at least the trial with one row.

        Raises:
            ExecutionFailed: the model refused one row. What it says of more only ends the trials.
        """
        self.known.append(self._try(1, until_s))
        self._more(until_s)

    def again(self, until_s: float) -> bool:
        """Time all of them once more, then more rows where that pays by now; return whether there was time for it."""
        with suppress(ExecutionFailed):
            for place, trial in enumerate(self.known):
                if self._over(trial.wall_s, until_s):
                    return False
                self.known[place] = trial.shorter(self._try(trial.rows, until_s, runs=1))
        self._more(until_s)
        return True

    def beyond(self, rows: int, until_s: float) -> list[Trial]:
        """Time more rows than are known, doubled, up to so many, whether they pay or not; as far as there is time."""
        found = self.known[-1:]
        with suppress(ExecutionFailed):
            while (more := min(2 * found[-1].rows, rows)) > found[-1].rows:
                if self._over(found[-1].wall_s * _GROWTH, until_s):
                    break
                found.append(self._try(more, until_s, runs=1))
        return found[1:]

    def _more(self, until_s: float) -> None:
        """Add trials with more rows."""
        known = self.known
        with suppress(ExecutionFailed):
            while rows := larger(known, self._most_rows):
                if self._over(known[-1].wall_s * _GROWTH * _RUNS, until_s):
                    break
                known.append(self._try(rows, until_s))

    def _over(self, trial_s: float, until_s: float) -> bool:
        """Whether there is no time any more for such a trial."""
        return self._clock.monotonic() + trial_s > until_s

    def _try(self, rows: int, until_s: float, runs: int = _RUNS) -> Trial:
        """Time the shorter of some runs in every slot; there is one run where there is no time for more."""
        sizing, inputs = self.sizing, self._draw(rows)
        clock_s = self._own_s if sizing.intra_op_threads == 1 else self._clock.monotonic

        def timed(_slot: int) -> tuple[float, float]:
            run_s = wall_s = float("inf")
            for _ in range(runs):
                start_s, began_s = clock_s(), self._clock.monotonic()
                self._execute(inputs)
                run_s, wall_s = min(run_s, clock_s() - start_s), min(wall_s, self._clock.monotonic() - began_s)
                if self._clock.monotonic() >= until_s:
                    break
            return run_s, wall_s

        if sizing.slots == 1:
            times = [timed(0)]  # one by itself is not worth a thread
        else:
            with ThreadPoolExecutor(sizing.slots, "shoal-trial") as threads:
                times = [*threads.map(timed, range(sizing.slots))]
        run_s, wall_s = sum(run_s for run_s, _ in times) / sizing.slots, max(wall_s for _, wall_s in times)
        return Trial(sizing, rows, run_s, wall_s, sum(array.nbytes for array in inputs if array is not None) // rows)


def take_turns(sides: Sequence[Trials], until_s: float) -> None:
    """Time all trials of all sides some more times, where there is time for that."""
    for _ in range(_PASSES - 1):
        for side in sides:
            if not side.again(until_s):
                return
