"""Work on one model happens in order; models do not wait for each other."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TypeVar

from shoal_server.clock import Clock
from shoal_server.errors import Conflict

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Turn:
    """Work that is under way: ``what`` completes "... is under way"; ``began_s`` is monotonic."""

    what: str
    began_s: float


class Turns:
    """Who works on which model. Loop only.

    Work that has begun goes on to its end even if its caller is cancelled, since a change half made would stay half
    made.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last: dict[str, asyncio.Task[object]] = {}
        self._running: dict[str, Turn] = {}

    def running(self, model: str) -> Turn | None:
        """Return what is under way on a model."""
        return self._running.get(model)

    async def take(self, model: str, what: str, work: Callable[[], Coroutine[object, object, R]]) -> R:
        """Do ``work`` when all earlier work on the model has ended, and to its end; unless the caller left by then."""
        wanted = True
        task = self._queue(model, what, work, lambda: wanted)
        try:
            return await asyncio.shield(task)
        finally:
            wanted = False

    def begin(self, model: str, what: str, work: Callable[[], Coroutine[object, object, None]]) -> None:
        """Begin ``work``, which must not raise, at once.

        Raises:
            Conflict: other work on the model is under way.
        """
        if model in self._last:
            running = self._running[model]
            raise Conflict(
                f"{running.what} of model '{model}' has been under way for "
                f"{self._clock.monotonic() - running.began_s:.1f} s; ask again when it has ended"
            )
        _ = self._queue(model, what, work, lambda: True)

    def _queue(
        self, model: str, what: str, work: Callable[[], Coroutine[object, object, R]], wanted: Callable[[], bool]
    ) -> asyncio.Task[R]:
        before = self._last.get(model)

        async def turn() -> R:
            try:
                if before is not None:
                    await asyncio.wait([before])
                if not wanted():
                    raise asyncio.CancelledError
                self._running[model] = Turn(what, self._clock.monotonic())
                return await work()
            finally:
                if self._last.get(model) is task:
                    del self._last[model], self._running[model]

        task = asyncio.get_running_loop().create_task(turn())
        self._last[model] = task
        self._running.setdefault(model, Turn(what, self._clock.monotonic()))
        return task
