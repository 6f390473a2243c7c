"""What is ready, and who wants to know when that changes."""

import asyncio
from collections.abc import AsyncIterator

from shoal_server.batching.batcher import Batcher
from shoal_server.events import CurrentChosen, Event, VersionChanged
from shoal_server.lifecycle.manager import Manager


class Readiness:
    """The server's and each model's readiness, following the catalog. Loop only; an Observer of events."""

    def __init__(self) -> None:
        self._manager: Manager[Batcher] | None = None
        self._started = False
        self._draining = False
        self._changed = asyncio.Event()

    @property
    def server_ready(self) -> bool:
        """Whether the first load is over and draining has not begun."""
        return self._started and not self._draining

    @property
    def is_draining(self) -> bool:
        """Whether nobody is let in, for a while or any more."""
        return self._draining

    def models(self) -> dict[str, bool]:
        """Whether calls to each known model, without a version, are answered."""
        models = self._manager.catalog.models if self._manager is not None else {}
        return {name: not self._draining and entry.answering is not None for name, entry in models.items()}

    def follow(self, manager: Manager[Batcher]) -> None:
        """Tell of this manager's models; it is made after its observers, of which this is one."""
        self._manager = manager

    def started(self) -> None:
        """The first load is over."""
        self._started = True
        self._wake()

    def draining(self, *, draining: bool) -> None:
        """Nobody is let in, or everybody is again."""
        self._draining = draining
        self._wake()

    def observe(self, event: Event) -> None:
        """Hear of a version that changed, or that answers now."""
        if isinstance(event, VersionChanged | CurrentChosen):
            self._wake()

    async def changes(self) -> AsyncIterator[None]:
        """Yield at once, and after each change; several changes in one turn of the loop are one."""
        while True:
            changed = self._changed
            yield
            await changed.wait()

    def _wake(self) -> None:
        # Waiters hold the old event, so none of them misses a change that comes while it is busy.
        self._changed.set()
        self._changed = asyncio.Event()
