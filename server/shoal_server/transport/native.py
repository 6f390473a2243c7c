"""The transport in Rust: HTTP/2 and TLS outside the GIL, calls in lists.

The crate in `server/native` does the work. What happens on the wire gathers in its inbox, whose file descriptor the
loop watches: one wake-up and one trip across the GIL for however many calls have come. Answers go the other way in the
same manner: whoever answers puts them in a queue, and the I/O thread is woken once for all that gathers.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final

import shoal_native

from shoal_server.clock import Clock
from shoal_server.histogram import SECONDS, Buckets
from shoal_server.transport.native_stream import NativeStream
from shoal_server.transport.port import Call, MethodStatistics, Peer, Routes, Status, Stream, TlsMaterial, TlsRefused

_log = logging.getLogger(__name__)

_BUG: Final = "internal error"
_OTHER: Final = "_OTHER"
_KEYS: Final = "EC P-256 and P-384, and RSA of 2048 to 4096 bits"
_MOST_EVENTS: Final = (
    256  # taken at once, so that a flood leaves the loop time for timers and for what has been computed
)
_FEW_EVENTS: Final = 16
_COUNT_EACH_S: Final = 0.02
"""How often those are counted whom the crate refuses by itself; a look at a clock for each would cost more."""


@dataclass(frozen=True, slots=True)
class NativeOptions:
    """Where to listen and what is too much.

    ``address`` is HOST:PORT (port 0: any free one) or unix:PATH, where clients of grpcio have to name an authority
    (`grpc.default_authority`), as theirs would be malformed. ``max_message_bytes`` bounds a request's message once
    it is inflated, ``max_metadata_bytes`` its headers, ``max_calls`` the calls under way, ``max_connections`` who is
    connected; where that is reached, the one that has been silent for longest since it came makes room for the next.
    Calls' messages of more than ``max_bytes`` in all are not kept in memory.

    Whoever has not said hello within ``handshake_s`` is hung up on, and so is who has been silent for ``keepalive_s``
    and does not answer a ping within ``keepalive_timeout_s``. A connection older than ``max_connection_age_s`` is asked
    to go elsewhere, and its calls have ``connection_grace_s`` left; 0 lets it stay. ``io_threads`` carry the bytes,
    >= 1. With ``reuse_port``, several processes that say so share a port.
    """

    address: str
    max_message_bytes: int
    max_metadata_bytes: int
    max_calls: int
    max_bytes: int = 2 << 30
    max_connections: int = 10_000
    handshake_s: float = 10.0
    keepalive_s: float = 60.0
    keepalive_timeout_s: float = 20.0
    max_connection_age_s: float = 0.0
    connection_grace_s: float = 30.0
    io_threads: int = 1
    reuse_port: bool = False


class NativeTransport:
    """One listener. Made, started and stopped on one loop.

    Raises:
        TlsRefused: the TLS material cannot be used.
    """

    def __init__(self, options: NativeOptions, routes: Routes, clock: Clock, tls: TlsMaterial | None = None) -> None:
        self._address = options.address
        self._hot = list(routes.hot.items())
        cold = list(routes.cold.items())
        streams = list(routes.streams.items())
        self._serves = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._counting: asyncio.TimerHandle | None = None
        self._all_counted = asyncio.Event()
        self._all_counted.set()
        self._stopped: asyncio.Future[None] = self._loop.create_future()
        # By the index that the crate knows a method by: hot ones first, then cold, then streams.
        self._cold: dict[int, Callable[[Call], Awaitable[None]]] = dict(
            enumerate((route for _, route in cold), len(self._hot))
        )
        self._streams: dict[int, Callable[[Stream], Awaitable[None]]] = dict(
            enumerate((route for _, route in streams), len(self._hot) + len(cold))
        )
        methods = [
            *((path, "hot") for path, _ in self._hot),
            *((path, "cold") for path, _ in cold),
            *((path, "stream") for path, _ in streams),
        ]
        self._names = [path.removeprefix("/") for path, _ in methods] + [_OTHER]
        self._wire = shoal_native.Transport(
            options.address,
            methods,
            SECONDS,
            clock.monotonic(),
            _peers(tls),
            NativeStream,
            {
                "message_bytes": options.max_message_bytes,
                "metadata_bytes": options.max_metadata_bytes,
                "calls": options.max_calls,
                "bytes_in_flight": options.max_bytes,
                "connections": options.max_connections,
                "handshake_s": options.handshake_s,
                "keepalive_s": options.keepalive_s,
                "keepalive_timeout_s": options.keepalive_timeout_s,
                "connection_age_s": options.max_connection_age_s,
                "connection_age_grace_s": options.connection_grace_s,
            },
            threads=options.io_threads,
            reuse_port=options.reuse_port,
        )
        # By the number that the crate gives an event, see `Event` there.
        self._on: tuple[Callable[[Any, Any], None], ...] = (
            lambda left, _: left(),
            self._begin_cold,
            self._begin_stream,
            NativeStream.take,
            NativeStream.count_sent,
            lambda stream, _: stream.leave(),
            _log.log,
            self._say_stopped,
        )
        if tls is not None:
            self.renew(tls)

    def renew(self, material: TlsMaterial) -> None:
        """Use this in all handshakes from now on; from any thread. Connections that there are stay.

        Raises:
            TlsRefused: it cannot be used; what was used before stays in use.
        """
        try:
            self._wire.renew(material.certificate, material.key, material.client_ca)
        except ValueError as error:
            raise TlsRefused(f"{error} (the native transport takes {_KEYS})") from error

    def statistics(self) -> Sequence[MethodStatistics]:
        """Return what was counted so far; from any thread."""
        return [
            MethodStatistics(
                self._names[index],
                Status(status),
                Buckets(SECONDS, tuple(counts), total_s),
                request_bytes,
                response_bytes,
            )
            for index, status, counts, total_s, request_bytes, response_bytes in self._wire.statistics()
        ]

    def unread(self) -> int:
        """Return how many calls were refused because they would have been read too late; from any thread."""
        return self._wire.unread()

    def inside(self) -> tuple[int, int, int]:
        """Return how many connections and calls there are, and how many bytes of messages are in memory."""
        return self._wire.inside()

    async def start(self) -> str:
        """Bind and serve; return the address as bound.

        Raises:
            OSError: the address cannot be bound.
        """
        try:
            port = self._wire.start()
        except OSError as error:
            raise OSError(f"cannot listen on {self._address}: {error}") from error
        self._loop.add_reader(self._wire.fileno(), self._take)
        self._serves = True
        return self._address if self._address.startswith("unix:") else f"{self._address.rpartition(':')[0]}:{port}"

    async def stop(self, grace_s: float) -> None:
        """Refuse new calls, let those under way end within ``grace_s``, then end them. Without a start, do nothing."""
        if not self._serves:
            return
        self._serves = False
        self._wire.drain()
        try:
            async with asyncio.timeout(grace_s):
                await asyncio.shield(self._stopped)
        except TimeoutError:
            self._wire.abort()
            await self._stopped
        self._loop.remove_reader(self._wire.fileno())
        await self._all_counted.wait()  # holds last for a moment
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.to_thread(self._wire.join)

    def _take(self) -> None:
        """Hand over what has gathered; on the loop."""
        # Where calls are refused, those that are not taken yet may be refused without.
        hot, rest = self._wire.take(_MOST_EVENTS if self._counting is None else _FEW_EVENTS)
        for index, calls in hot:
            method, route = self._hot[index]
            try:
                route(calls)
            except Exception:  # noqa: BLE001 - the wire outlives any bug behind it
                _log.exception("%s failed", method)
                for call in calls:
                    call.fail(Status.INTERNAL, _BUG)
        for what, whose, value in rest:
            self._on[what](whose, value)
        if self._counting is None and self._wire.has_holds():
            self._all_counted.clear()
            self._counting = self._loop.call_later(_COUNT_EACH_S, self._count_refused)

    def _count_refused(self) -> None:
        """Tell of calls that were refused for others' sake, as long as there are any."""
        counts, more = self._wire.refused()
        self._counting = self._loop.call_later(_COUNT_EACH_S, self._count_refused) if more else None
        if not more:
            self._all_counted.set()
        for counted, times in counts:
            counted(times)

    def _begin_cold(self, call: shoal_native.Call, route: int) -> None:
        call.on_cancel(self._begin(self._run_cold(call, self._cold[route])).cancel)

    def _begin_stream(self, stream: NativeStream, route: int) -> None:
        stream.task = self._begin(self._run_stream(stream, self._streams[route]))

    def _say_stopped(self, _whose: None, _value: None) -> None:
        if not self._stopped.done():
            self._stopped.set_result(None)

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _run_cold(self, call: shoal_native.Call, route: Callable[[Call], Awaitable[None]]) -> None:
        try:
            await route(call)
        except Exception:  # noqa: BLE001 - the wire outlives any bug behind it
            _log.exception("%s failed", call.method)
            call.fail(Status.INTERNAL, _BUG)

    async def _run_stream(self, stream: NativeStream, route: Callable[[Stream], Awaitable[None]]) -> None:
        try:
            await route(stream)
        except Exception:  # noqa: BLE001 - the wire outlives any bug behind it
            _log.exception("%s failed", stream.method)
            stream.fail(Status.INTERNAL, _BUG)
        finally:
            stream.finish()
            stream.task = None  # it holds the stream by what it raised, and would until the garbage collector runs


def _peers(tls: TlsMaterial | None) -> Callable[[str, bytes | None], Peer]:
    """Return what makes a connection's peer of the address and, where there is one, the verified certificate in DER."""
    if tls is None:
        return lambda address, _: Peer(address)
    # Here, as cryptography takes a while to import, and without TLS nobody has a certificate.
    from shoal_server.transport.peer_certificate import identity_of_der  # noqa: PLC0415 - see above

    return lambda address, certificate: Peer(address, identity_of_der(certificate) if certificate else "")
