"""A stream of the native transport as the port describes it."""

import asyncio
from collections import deque
from typing import ClassVar

import shoal_native

from shoal_server.transport.port import Metadata, Peer, Status, Trace


class NativeStream:
    """What the loop knows of a stream. ``task`` runs its route.

    The methods ``take``, ``count_sent`` and ``leave`` are the transport's, for what the crate reports; the rest is the
    port's.
    """

    trace: ClassVar[Trace | None] = None

    __slots__ = ("_changed", "_ended", "_exchange", "_received", "_sent", "task")

    def __init__(self, exchange: shoal_native.Exchange) -> None:
        self._exchange = exchange
        self._received: deque[bytes] = deque()
        self._ended = False
        self._sent = 0
        self._changed = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    @property
    def method(self) -> str:
        """The full name."""
        return self._exchange.method

    @property
    def metadata(self) -> Metadata:
        """The caller's metadata."""
        return self._exchange.metadata

    @property
    def deadline_s(self) -> float | None:
        """Monotonic seconds, None where the caller set no deadline."""
        return self._exchange.deadline_s

    @property
    def peer(self) -> Peer:
        """Who calls."""
        peer: Peer = self._exchange.peer
        return peer

    async def receive(self) -> bytes | None:
        """Return the next message, None when the caller has sent its last."""
        while not self._received:
            if self._ended:
                return None
            await self._change()
        message = self._received.popleft()
        self._exchange.received(len(message))
        return message

    def send(self, message: bytes) -> None:
        """Send a message, in order; from any thread, without waiting."""
        self._exchange.send(message)

    async def sent(self, count: int) -> None:
        """Wait until ``count`` messages in all are on their way."""
        while self._sent < count:
            await self._change()

    def fail(self, status: Status, text: str, trailers: Metadata = ()) -> None:
        """End the stream with that status; from any thread."""
        self._exchange.fail(status, text, trailers)
        task = self.task
        if task is not None:
            task.get_loop().call_soon_threadsafe(task.cancel)

    def finish(self) -> None:
        """The route has returned: what was sent is written, and the stream ends with OK unless it has ended."""
        self._exchange.finish()
        self._drop_received()

    def take(self, message: bytes | None) -> None:
        """A message has come; None after the last."""
        if message is None:
            self._ended = True
        else:
            self._received.append(message)
        self._changed.set()

    def count_sent(self, count: int) -> None:
        """So many messages in all are on their way."""
        self._sent = count
        self._changed.set()

    def leave(self) -> None:
        """The caller is gone."""
        self._drop_received()
        if self.task is not None:
            self.task.cancel()

    def _drop_received(self) -> None:
        """Nobody will receive what waits: it is counted no longer."""
        while self._received:
            self._exchange.received(len(self._received.popleft()))

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()
