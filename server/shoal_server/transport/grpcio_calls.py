"""Calls and streams of grpc.aio as the port describes them."""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar, Final

import grpc
import grpc.aio

from shoal_server.clock import Clock
from shoal_server.mailbox import Mailbox
from shoal_server.transport.peer_certificate import identity_of_pem
from shoal_server.transport.port import Metadata, Peer, Status, Trace

_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}

Context = grpc.aio.ServicerContext[Any, Any]


class Exchange:
    """What unary calls and streams have in common. ``arrived_s`` is monotonic."""

    __slots__ = ("_context", "_failure", "_mailbox", "arrived_s", "deadline_s", "method")

    trace: ClassVar[Trace | None] = None

    def __init__(self, method: str, context: Context, mailbox: Mailbox, clock: Clock) -> None:
        remaining_s: float | None = context.time_remaining()
        self.method = method
        self.arrived_s = clock.monotonic()
        self.deadline_s = None if remaining_s is None else self.arrived_s + remaining_s
        self._context = context
        self._mailbox = mailbox
        self._failure: tuple[Status, str, Metadata] | None = None

    @property
    def status(self) -> Status:
        """How it was answered; OK where nothing else was said."""
        return Status.OK if self._failure is None else self._failure[0]

    @property
    def metadata(self) -> Metadata:
        """The caller's metadata."""
        return tuple(self._context.invocation_metadata() or ())

    @property
    def peer(self) -> Peer:
        """Who calls; looked up when it is asked for, as most calls are handled without."""
        certificates = self._context.auth_context().get("x509_pem_cert", ())
        return Peer(self._context.peer(), next((identity_of_pem(pem) for pem in certificates), ""))

    def _end(self, status: Status, text: str, trailers: Metadata) -> None:
        """Set how the call ends; on the loop."""
        self._context.set_code(_CODES[status])
        self._context.set_details(text)
        if trailers:
            self._context.set_trailing_metadata(tuple(trailers))


class GrpcioCall(Exchange):
    """A unary call; the coroutine that grpc.aio runs for it waits for ``answered``."""

    __slots__ = ("_left", "answered", "message")

    def __init__(self, method: str, message: bytes, context: Context, mailbox: Mailbox, clock: Clock) -> None:
        super().__init__(method, context, mailbox, clock)
        self.message = message
        self.answered: asyncio.Future[bytes] = mailbox.loop.create_future()
        self._left: Callable[[], None] | None = None

    def reply(self, message: bytes) -> None:
        """End the call with OK; from any thread."""
        self._mailbox.post(self._resolve, message)

    def fail(self, status: Status, text: str, trailers: Metadata = ()) -> None:
        """End the call with another status; from any thread."""
        self._failure = (status, text, trailers)
        self._mailbox.post(self._resolve, b"")

    def hold(self, *_refusal: object) -> bool:
        """Return that this transport cannot: grpc.aio makes a task of a call before we hear of it."""
        return False

    def on_cancel(self, left: Callable[[], None]) -> None:
        """Have ``left`` called if the caller leaves before the answer."""
        self._left = left

    def leave(self) -> None:
        """The caller is gone."""
        if self._left is not None:
            self._left()

    def _resolve(self, message: bytes) -> None:
        if self.answered.done():
            return
        if self._failure is not None:
            self._end(*self._failure)
        self.answered.set_result(message)


class GrpcioStream(Exchange):
    """A stream: one task of its handler runs the route, another writes what ``send`` has gathered."""

    __slots__ = (
        "_first",
        "_gone",
        "_over",
        "_reads",
        "_route",
        "_sent",
        "_unsent",
        "_wake",
        "_written",
        "request_bytes",
        "response_bytes",
    )

    def __init__(
        self, method: str, context: Context, mailbox: Mailbox, clock: Clock, first: bytes | None = None
    ) -> None:
        super().__init__(method, context, mailbox, clock)
        self._first = first
        self._reads = first is None
        self.request_bytes = len(first or b"")
        self.response_bytes = 0
        self._route: asyncio.Task[None] | None = None
        self._unsent: deque[bytes] = deque()
        self._sent = 0
        self._over = False
        self._gone = False
        self._wake = asyncio.Event()
        self._written = asyncio.Event()

    async def run(self, route: Callable[["GrpcioStream"], Coroutine[None, None, None]]) -> None:
        """Handle the stream from its first message to its status."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._write())
            self._route = group.create_task(route(self))
            await asyncio.wait([self._route])
            self._mailbox.deliver()
            self._over = True
            self._wake.set()
        if self._gone:
            raise asyncio.CancelledError

    async def receive(self) -> bytes | None:
        """Return the next message, None when the caller has sent its last."""
        if self._reads:
            read = await self._context.read()
            if read is grpc.aio.EOF:
                return None
            received: bytes = read
            self.request_bytes += len(received)
            return received
        message, self._first = self._first, None
        return message

    def send(self, message: bytes) -> None:
        """Send a message, in order; from any thread, without waiting."""
        self._mailbox.post(self._enqueue, message)

    async def sent(self, count: int) -> None:
        """Wait until ``count`` messages in all are on their way."""
        while self._sent < count:
            self._written.clear()
            await self._written.wait()

    def fail(self, status: Status, text: str, trailers: Metadata = ()) -> None:
        """End the stream with that status; from any thread."""
        self._failure = (status, text, trailers)
        self._mailbox.post(self._stop, b"")

    def _stop(self, _message: bytes) -> None:
        if self._failure is not None:
            self._end(*self._failure)
        if self._route is not None:
            self._route.cancel()

    def _enqueue(self, message: bytes) -> None:
        self._unsent.append(message)
        self._wake.set()

    async def _write(self) -> None:
        while True:
            while self._unsent:
                message = self._unsent.popleft()
                try:
                    await self._context.write(message)
                except Exception:  # noqa: BLE001 - grpc.aio's own class for it is private
                    # The caller is gone. grpc.aio is about to cancel the handler, and nobody is left to be told more.
                    self._gone = True
                    return
                self._sent += 1
                self.response_bytes += len(message)
                self._written.set()
            if self._over:
                return
            self._wake.clear()
            await self._wake.wait()
