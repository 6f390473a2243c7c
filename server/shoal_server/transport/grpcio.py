"""The transport on grpc.aio: works wherever pip does.

What to know of grpc.aio: it makes one task per call, in which our coroutine only waits for a future. A cancelled call,
a passed deadline and a closed connection all arrive there as ``CancelledError``. After ``context.abort`` the server's
``stop`` returns before handlers have cleaned up (grpc/grpc#37239), so errors are set on the context and returned.
"""

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import grpc
import grpc.aio

from shoal_server.clock import Clock
from shoal_server.mailbox import Mailbox
from shoal_server.transport.gathering import Gathering
from shoal_server.transport.grpcio_calls import Context, GrpcioCall, GrpcioStream
from shoal_server.transport.grpcio_tls import RenewableCredentials
from shoal_server.transport.leaving import status_of_leaving
from shoal_server.transport.meter import OTHER, Meter
from shoal_server.transport.port import (
    Call,
    ListenerOptions,
    MethodStatistics,
    Routes,
    Status,
    Stream,
    TlsMaterial,
)

_log = logging.getLogger(__name__)

_grpc_log = logging.getLogger("grpc._cython.cygrpc")

_BUG: Final = "internal error"
_LEAST_PENDING: Final = 10_000  # calls that wait to be taken before grpc cancels some
_AGE_JITTER: Final = 1.1  # gRPC ends a connection at its age plus or minus a tenth, so that not all end at once

_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


class GrpcioTransport:
    """One listener, without TLS where there is no ``tls``. Made, started and stopped on one loop."""

    def __init__(
        self, options: ListenerOptions, routes: Routes, clock: Clock, mailbox: Mailbox, tls: TlsMaterial | None = None
    ) -> None:
        self._options = options
        self._clock = clock
        self._mailbox = mailbox
        self._routes = routes
        self._news = _News()
        self._tls = None if tls is None else RenewableCredentials(tls)
        self._meter = Meter([*routes.hot, *routes.cold, *routes.streams])
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", options.max_message_bytes),
                ("grpc.max_send_message_length", -1),
                ("grpc.max_metadata_size", options.max_metadata_bytes),
                ("grpc.absolute_max_metadata_size", options.max_metadata_bytes),
                # By default grpc cancels calls at random, with CANCELLED, once 1,000 wait to be taken: a burst on one
                # connection. Whom to refuse, and with what, is for admission to say, however few it takes.
                ("grpc.server.max_pending_requests", max(options.max_calls, _LEAST_PENDING)),
                ("grpc.server.max_pending_requests_hard_limit", 2 * max(options.max_calls, _LEAST_PENDING)),
                # Otherwise a second server on the same port takes half of the first one's connections, silently.
                ("grpc.so_reuseport", 0),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
                *(_ages(options) if tls is not None else ()),
            ],
            maximum_concurrent_rpcs=options.max_calls,
        )
        handlers = {method: self._hot(method) for method in routes.hot}
        handlers |= {method: self._cold(method, route) for method, route in routes.cold.items()}
        handlers |= {method: self._stream(method, route) for method, route in routes.streams.items()}
        self._server.add_generic_rpc_handlers((_Handlers(handlers, self._meter),))

    async def start(self) -> str:
        """Bind and serve; return the address as bound.

        Raises:
            OSError: the address cannot be bound.
        """
        address = self._options.address
        if address.startswith("unix:") and _is_served(address.removeprefix("unix:")):
            raise OSError(f"cannot listen on {address}: {os.strerror(errno.EADDRINUSE)}")  # grpc would take it away
        try:
            if self._tls is None:
                bound = self._server.add_insecure_port(address)
            else:
                bound = self._server.add_secure_port(address, self._tls.credentials)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {address}: {_reason(address)}") from error
        _grpc_log.addFilter(self._news)
        await self._server.start()
        return address if address.startswith("unix:") else f"{address.rpartition(':')[0]}:{bound}"

    def renew(self, material: TlsMaterial) -> None:
        """Use this in all handshakes from now on; from any thread. Connections that there are stay until their age."""
        assert self._tls is not None, "a listener without TLS has nothing to renew"
        self._tls.renew(material)

    async def stop(self, grace_s: float) -> None:
        """Refuse new calls, let those under way end within ``grace_s``, then end them."""
        await self._server.stop(grace_s)
        _grpc_log.removeFilter(self._news)

    def statistics(self) -> Sequence[MethodStatistics]:
        """Return what was counted so far; from any thread.

        Calls that grpc itself refuses never come here: messages above the limit, and calls beyond ``max_calls``.
        """
        return self._meter.read()

    def unread(self) -> int:
        """Return that none were refused unread: each gets a task before anybody can look at it."""
        return 0

    def _count(self, call: GrpcioCall, response_bytes: int) -> None:
        """Count a unary call that was answered."""
        took_s = self._clock.monotonic() - call.arrived_s
        self._meter.ended(call.method, call.status, took_s, len(call.message), response_bytes)

    def _count_left(self, call: GrpcioCall) -> None:
        """Count a unary call whose caller left before the answer."""
        now = self._clock.monotonic()
        self._meter.ended(
            call.method, status_of_leaving(call.deadline_s, now), now - call.arrived_s, len(call.message), 0
        )

    def _hot(self, method: str) -> _Handler:
        """Gather the calls that follow each other closely and hand them over as lists."""
        route = self._routes.hot[method]
        mailbox, clock = self._mailbox, self._clock

        def hand_over(arrived: list[GrpcioCall]) -> None:
            calls = [call for call in arrived if not call.answered.done()]  # some may have left meanwhile
            try:
                route(calls)
            except Exception:  # noqa: BLE001 - the wire outlives any bug behind it
                _log.exception("%s failed", method)
                for call in calls:
                    call.fail(Status.INTERNAL, _BUG)

        gathering = Gathering(mailbox.loop, clock, hand_over)

        async def unary(message: bytes, context: Context) -> bytes:
            call = GrpcioCall(method, message, context, mailbox, clock)
            gathering.add(call)
            try:
                answer = await call.answered
            except asyncio.CancelledError:
                self._count_left(call)
                call.leave()
                raise
            self._count(call, len(answer))
            return answer

        return grpc.unary_unary_rpc_method_handler(unary)

    def _cold(self, method: str, route: Callable[[Call], Awaitable[None]]) -> _Handler:
        async def unary(message: bytes, context: Context) -> bytes:
            call = GrpcioCall(method, message, context, self._mailbox, self._clock)
            try:
                try:
                    await route(call)
                except Exception:  # noqa: BLE001 - the wire outlives any bug behind it
                    _log.exception("%s failed", method)
                    call.fail(Status.INTERNAL, _BUG)
                answer = await call.answered
            except asyncio.CancelledError:
                self._count_left(call)
                call.leave()
                raise
            self._count(call, len(answer))
            return answer

        return grpc.unary_unary_rpc_method_handler(unary)

    def _stream(self, method: str, route: Callable[[Stream], Awaitable[None]]) -> _Handler:
        async def guarded(stream: GrpcioStream) -> None:
            try:
                await route(stream)
            except Exception:  # noqa: BLE001 - the wire outlives any bug behind it
                _log.exception("%s failed", method)
                stream.fail(Status.INTERNAL, _BUG)

        async def run(stream: GrpcioStream) -> None:
            left = True
            try:
                await stream.run(guarded)
                left = False
            finally:
                now = self._clock.monotonic()
                status = status_of_leaving(stream.deadline_s, now) if left else stream.status
                took_s = now - stream.arrived_s
                self._meter.ended(method, status, took_s, stream.request_bytes, stream.response_bytes)

        async def many(_messages: object, context: Context) -> None:
            await run(GrpcioStream(method, context, self._mailbox, self._clock))

        async def one(message: bytes, context: Context) -> None:
            await run(GrpcioStream(method, context, self._mailbox, self._clock, first=message))

        if method in self._routes.first_message_only:
            return grpc.unary_stream_rpc_method_handler(one)
        return grpc.stream_stream_rpc_method_handler(many)


class _Handlers(grpc.GenericRpcHandler):
    def __init__(self, handlers: dict[str, _Handler], meter: Meter) -> None:
        self._handlers = handlers
        self._meter = meter

    def service(self, details: grpc.HandlerCallDetails) -> "_Handler | None":
        handler = self._handlers.get(details.method)
        if handler is None:
            self._meter.ended(OTHER, Status.UNIMPLEMENTED, 0.0, 0, 0)  # grpc answers it at once
        return handler


class _News(logging.Filter):
    """Passes on what grpc.aio logs but its tracebacks of callers who leave while their answers are written."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith("ExecuteBatchError raised in core")


def _ages(options: ListenerOptions) -> tuple[tuple[str, int], ...]:
    if not options.max_connection_age_s:
        return ()
    return (
        ("grpc.max_connection_age_ms", max(1, int(1000 * options.max_connection_age_s / _AGE_JITTER))),
        ("grpc.max_connection_age_grace_ms", int(1000 * options.connection_grace_s)),
    )


def _is_served(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(path) == 0


def _reason(address: str) -> str:
    """Say why an address cannot be bound; grpc itself does not tell."""
    host, _colon, port = address.rpartition(":")
    try:
        if address.startswith("unix:"):
            path = Path(address.removeprefix("unix:"))
            with socket.socket(socket.AF_UNIX) as probe:
                probe.bind(str(path))
            path.unlink()
            return "the path cannot be bound"
        family, kind, _proto, _name, place = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
    except OSError as error:
        return error.strerror or str(error)
    return "the address cannot be bound"
