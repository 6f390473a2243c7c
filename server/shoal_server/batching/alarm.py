"""A timer of which only the earliest time counts."""

import asyncio
from collections.abc import Callable

from shoal_server.clock import Clock


class Alarm:
    """Calls ``woken`` once for all times that it was set to before; whoever is woken sets the next. Loop only."""

    def __init__(self, clock: Clock, woken: Callable[[], None]) -> None:
        self._clock = clock
        self._woken = woken
        self._timer: asyncio.TimerHandle | None = None
        self._at_s = 0.0

    def set(self, at_s: float) -> None:
        """See to it that ``woken`` is called by then, in monotonic seconds, or earlier."""
        if self._timer is not None:
            if self._at_s <= at_s:
                return
            self._timer.cancel()
        self._at_s = at_s
        delay_s = max(at_s - self._clock.monotonic(), 0.0)
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._ring)

    def cancel(self) -> None:
        """Call nobody."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ring(self) -> None:
        self._timer = None
        self._woken()
