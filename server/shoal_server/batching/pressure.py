"""How many rows a batch may have: more while the line has been there for long. Pure.

Small batches are for the callers of a burst, who else would wait for one another. Where somebody has been waiting all
the time, everybody waits for a turn anyway: the line is worked off no later in larger batches, but somewhat faster.
They keep their slots for longer, so they are for a model that has them for itself; and who is in one cannot leave it,
so they are for callers who stay.
"""

from typing import Final

from shoal_server.batching.forecast import Forecast
from shoal_server.options import BatchingOptions

_FAR: Final = 8.0  # times what the larger batch takes: so far away are deadlines, and its own limit, that it risks none


class Pressure:
    """What the batches before tell of how long the line has been there."""

    __slots__ = ("_after", "_forecast", "_leaving", "_limit_s", "_most_rows", "_rows")

    def __init__(self, options: BatchingOptions, forecast: Forecast) -> None:
        self._rows = options.max_rows
        self._most_rows = options.pressed_rows
        self._after = options.pressed_after
        self._limit_s = options.execution_limit_s
        self._forecast = forecast
        self._leaving = 0  # batches in a row that left somebody waiting

    def limit(self, waiting_rows: int, now: float, due_s: float) -> int:
        """Return how many rows the next batch may have, of so many that wait and the first of which is due then.

        It leaves as many for each other slot, which would else have nothing to do until its callers ask again.
        """
        rows = min(waiting_rows // self._forecast.slots, self._most_rows)
        if rows <= self._rows or self._leaving < self._after:
            return self._rows
        far_s = _FAR * self._forecast.execution_s(rows)
        return rows if far_s <= self._limit_s and now + far_s <= due_s else self._rows

    def dispatched(self, *, leaves: bool) -> None:
        """Note that a batch was taken out of the line, and whether it leaves anybody there."""
        self._leaving = self._leaving + 1 if leaves else 0

    def begin_anew(self) -> None:
        """Note that the line had better not be taken to be one that stays."""
        self._leaving = 0
