"""Time as an argument: everything that measures or waits is handed a clock."""

import time
from typing import Protocol


class Clock(Protocol):
    """A clock that never goes back."""

    def monotonic(self) -> float:
        """Return seconds since an arbitrary fixed point; only differences mean anything."""
        ...

    def epoch(self) -> float:
        """Return seconds since 1970-01-01 UTC, to stamp what people read; never to measure or to wait."""
        ...


class MonotonicClock:
    """The machine's monotonic clock, unmoved by wall-clock changes."""

    monotonic = staticmethod(time.monotonic)
    epoch = staticmethod(time.time)  # noqa: TID251 - the one place; see Clock.epoch
