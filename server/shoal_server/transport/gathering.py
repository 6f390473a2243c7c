"""Calls that come one by one, made into lists.

grpc.aio takes one call after the other, each a few turns of the loop after the one before, however many wait in its
core. Handed over one by one, none would find company for a batch. So where calls follow each other closely, the list
is held open until nothing has come for some turns of the loop: each of them takes microseconds where nothing else is to
be done, and where something is, more calls come meanwhile.
"""

import asyncio
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from shoal_server.clock import Clock

T = TypeVar("T")

QUIET_TURNS: Final = 16
MOST: Final = 64
NEAR_S: Final = 0.001
"""Whoever comes so soon after the last list may be one of many; a lone caller who is quick is one, too."""
MOST_DOUBT: Final = 32
"""Lists that are not held open after one that was for nothing: 1, 2, 4 and so on, up to this."""


class Gathering(Generic[T]):
    """Hands lists of one item or more to ``hand_over``, in a turn of the loop of its own. Loop only."""

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Clock, hand_over: Callable[[list[T]], None]) -> None:
        """``hand_over`` must not raise."""
        self._loop = loop
        self._clock = clock
        self._hand_over = hand_over
        self._items: list[T] = []
        self._seen = 0
        self._quiet = 0
        self._doubt = 0
        self._doubts = 1
        self._has_company = False
        """Whether the last list had more than one item."""
        self._over_s = 0.0

    def add(self, item: T) -> None:
        """Take an item."""
        self._items.append(item)
        if len(self._items) == 1:
            self._loop.call_soon(self._wait if self._is_worth_waiting() else self._end)

    def _is_worth_waiting(self) -> bool:
        if self._has_company:
            return True
        if self._clock.monotonic() - self._over_s >= NEAR_S:
            return False
        if self._doubt:
            self._doubt -= 1
            return False
        return True

    def _wait(self) -> None:
        """Look whether anything has come since the last turn."""
        found = len(self._items)
        self._quiet = self._quiet + 1 if found == self._seen else 0
        self._seen = found
        if self._quiet < QUIET_TURNS and found < MOST:
            self._loop.call_soon(self._wait)
            return
        if found > 1:
            self._doubt, self._doubts = 0, 1
        else:
            self._doubt, self._doubts = self._doubts, min(2 * self._doubts, MOST_DOUBT)
        self._end()

    def _end(self) -> None:
        items, self._items = self._items, []
        self._seen = self._quiet = 0
        self._has_company = len(items) > 1
        self._hand_over(items)
        self._over_s = self._clock.monotonic()
