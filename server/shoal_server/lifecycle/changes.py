"""Word of models that changed, for however many who follow."""

import asyncio
from collections.abc import AsyncIterator, Iterable

from shoal_server.errors import ShoalError


class Changes:
    """Tells each follower which models changed since it last looked, each once. Loop only."""

    def __init__(self) -> None:
        self._followers: dict[_Follower, None] = {}
        self._ended: ShoalError | None = None

    def tell(self, model: str) -> None:
        """A model changed."""
        for follower in self._followers:
            follower.changed[model] = None
            follower.woken.set()

    def end(self, error: ShoalError) -> None:
        """Nobody is told any more: whoever follows, or would, has ``error`` raised."""
        self._ended = error
        for follower in self._followers:
            follower.woken.set()

    async def follow(self) -> AsyncIterator[Iterable[str]]:
        """Yield nothing at once, and then the models that changed, whenever some did.

        Raises:
            ShoalError: it has been ended.
        """
        follower = _Follower()
        if self._ended is not None:
            follower.woken.set()
        self._followers[follower] = None
        try:
            yield ()
            while True:
                await follower.woken.wait()
                if self._ended is not None:
                    raise self._ended
                follower.woken.clear()
                changed, follower.changed = follower.changed, {}
                yield changed
        finally:
            del self._followers[follower]


class _Follower:
    def __init__(self) -> None:
        self.changed: dict[str, None] = {}
        self.woken = asyncio.Event()
