"""Routes that record the calls that are traced; all others pass through untouched."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, TypeVar

from shoal_server.clock import Clock
from shoal_server.telemetry.request_trace import RequestTrace
from shoal_server.telemetry.tracer import Tracer
from shoal_server.transport.leaving import status_of_leaving
from shoal_server.transport.port import Call, Metadata, Peer, Routes, Status, Stream

E = TypeVar("E", bound=Call | Stream)


class _TracedExchange(Generic[E]):
    """What calls and streams have in common."""

    __slots__ = ("_clock", "trace", "untraced")

    def __init__(self, inner: E, trace: RequestTrace, clock: Clock) -> None:
        self.untraced = inner
        """The call itself; whoever answers that ends the trace, too."""
        self._clock = clock
        self.trace = trace

    @property
    def method(self) -> str:
        """As of the call itself."""
        return self.untraced.method

    @property
    def metadata(self) -> Metadata:
        """As of the call itself."""
        return self.untraced.metadata

    @property
    def deadline_s(self) -> float | None:
        """As of the call itself."""
        return self.untraced.deadline_s

    @property
    def peer(self) -> Peer:
        """As of the call itself."""
        return self.untraced.peer

    def fail(self, status: Status, text: str, trailers: Metadata = ()) -> None:
        """End the trace and the call."""
        self.trace.end(status, text)
        self.untraced.fail(status, text, trailers)

    def leave(self) -> None:
        """The caller is gone."""
        self.trace.end(status_of_leaving(self.deadline_s, self._clock.monotonic()), "the caller left")


class TracedCall(_TracedExchange[Call]):
    """A call whose trace ends with it."""

    __slots__ = ()

    @property
    def message(self) -> bytes:
        """As of the call itself."""
        return self.untraced.message

    def reply(self, message: bytes) -> None:
        """End the trace and the call."""
        self.trace.end(Status.OK, "")
        self.untraced.reply(message)

    def hold(self, *refusal: Any) -> bool:  # noqa: ANN401 - none of our business
        """As of the call itself."""
        return self.untraced.hold(*refusal)

    def on_cancel(self, left: Callable[[], None]) -> None:
        """Have the trace ended and ``left`` called if the caller leaves."""

        def leave() -> None:
            self.leave()
            left()

        self.untraced.on_cancel(leave)


class TracedStream(_TracedExchange[Stream]):
    """A stream whose trace ends with it."""

    __slots__ = ()

    async def receive(self) -> bytes | None:
        """As of the stream itself."""
        return await self.untraced.receive()

    def send(self, message: bytes) -> None:
        """As of the stream itself."""
        self.untraced.send(message)

    async def sent(self, count: int) -> None:
        """As of the stream itself."""
        await self.untraced.sent(count)


def traced(routes: Routes, tracer: Tracer, clock: Clock) -> Routes:
    """Return the same routes, in which each call is looked at once, whether it is to be traced."""
    return Routes(
        {method: _hot(route, tracer, clock) for method, route in routes.hot.items()},
        {method: _cold(route, tracer, clock) for method, route in routes.cold.items()},
        {method: _stream(route, tracer, clock) for method, route in routes.streams.items()},
        routes.first_message_only,
    )


def _hot(route: Callable[[Sequence[Call]], None], tracer: Tracer, clock: Clock) -> Callable[[Sequence[Call]], None]:
    def handle(calls: Sequence[Call]) -> None:
        traces = tracer.begin_all(calls)
        if traces:
            calls = list(calls)
            for place, trace in traces:
                calls[place] = TracedCall(calls[place], trace, clock)
        route(calls)

    return handle


def _cold(route: Callable[[Call], Awaitable[None]], tracer: Tracer, clock: Clock) -> Callable[[Call], Awaitable[None]]:
    async def handle(call: Call) -> None:
        trace = tracer.begin(call)
        if trace is None:
            await route(call)
            return
        traced_call = TracedCall(call, trace, clock)
        try:
            await route(traced_call)
        except asyncio.CancelledError:
            traced_call.leave()
            raise
        finally:
            trace.end(Status.INTERNAL, "")  # where the route raised; the transport answers so

    return handle


def _stream(
    route: Callable[[Stream], Awaitable[None]], tracer: Tracer, clock: Clock
) -> Callable[[Stream], Awaitable[None]]:
    async def handle(stream: Stream) -> None:
        trace = tracer.begin(stream)
        if trace is None:
            await route(stream)
            return
        traced_stream = TracedStream(stream, trace, clock)
        try:
            await route(traced_stream)
            trace.end(Status.OK, "")
        except asyncio.CancelledError:
            traced_stream.leave()
            raise
        finally:
            trace.end(Status.INTERNAL, "")  # as above

    return handle
