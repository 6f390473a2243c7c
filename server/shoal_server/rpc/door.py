"""Who comes in: everybody, nobody for a while, or nobody any more."""

import asyncio

from shoal_server.admission.gate import Gate
from shoal_server.errors import PreconditionFailed
from shoal_server.rpc.readiness import Readiness


class Door:
    """The gate and what is told of it: not ready first, then closed. Loop only."""

    def __init__(self, gate: Gate, readiness: Readiness) -> None:
        self._gate = gate
        self._readiness = readiness
        self._stopping = False

    @property
    def inside(self) -> int:
        """How many requests are under way."""
        return self._gate.requests

    def close(self) -> None:
        """Let nobody in until ``open``."""
        self._readiness.draining(draining=True)
        self._gate.close()

    def open(self) -> None:
        """Let everybody in again.

        Raises:
            PreconditionFailed: the process is about to end.
        """
        if self._stopping:
            raise PreconditionFailed("the server is shutting down and lets nobody in any more")
        self._gate.open()
        self._readiness.draining(draining=False)

    def stop(self) -> None:
        """Let nobody in any more: the process is about to end."""
        self._stopping = True
        self.close()

    async def emptied(self, wait_s: float) -> None:
        """Wait until nobody is inside, or for that long; meaningful once it is closed."""
        try:
            async with asyncio.timeout(wait_s):
                await self._gate.emptied()
        except TimeoutError:
            return
