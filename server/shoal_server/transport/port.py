"""The port between the wire and the application: calls as bytes. Knows no protobuf; no adapter knows the application.

Two kinds of methods. *Hot* ones are handled synchronously, in lists, with no task of their own per call; *cold* ones
are coroutines. An adapter answers methods that are not routed with UNIMPLEMENTED, and a coroutine that raises with
INTERNAL.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol

from shoal_server.events import Traced
from shoal_server.histogram import Buckets

Metadata = Sequence[tuple[str, str | bytes]]


class Status(IntEnum):
    """The status codes of gRPC (github.com/grpc/grpc, doc/statuscodes.md)."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


@dataclass(frozen=True, slots=True)
class Peer:
    """Who calls: the network address, and the identity that TLS verified, as ``identity_of`` writes it (or empty)."""

    address: str
    identity: str = ""


class Trace(Traced, Protocol):
    """The record of one request, where somebody keeps one. From any thread; does nothing after its end."""

    @property
    def trace_id(self) -> str:
        """The id of the trace that it belongs to, 32 hexadecimal digits."""
        ...

    @property
    def span_id(self) -> str:
        """The id of the request within the trace, 16 hexadecimal digits."""
        ...

    def note(self, known: Mapping[str, str | int]) -> None:
        """Add what is known of the request."""
        ...

    def inner(self, name: str) -> "Trace":
        """Return the record of a request within this one, as those of a stream are; it ends by ``end``."""
        ...

    def end(self, status: Status, text: str) -> None:
        """The request is answered. A call and a stream end theirs themselves."""
        ...


class Call(Protocol):
    """A unary call. ``reply`` or ``fail`` is called once, from any thread; after the caller left it does nothing."""

    @property
    def method(self) -> str:
        """The full name, as in ``/inference.GRPCInferenceService/ModelInfer``."""
        ...

    @property
    def message(self) -> bytes:
        """The request."""
        ...

    @property
    def metadata(self) -> Metadata:
        """The caller's metadata."""
        ...

    @property
    def deadline_s(self) -> float | None:
        """Monotonic seconds, None where the caller set no deadline."""
        ...

    @property
    def peer(self) -> Peer:
        """Who calls."""
        ...

    @property
    def trace(self) -> Trace | None:
        """The call's record, None where nobody keeps one; a transport itself keeps none."""
        ...

    def reply(self, message: bytes) -> None:
        """End the call with OK."""
        ...

    def fail(self, status: Status, text: str, trailers: Metadata = ()) -> None:
        """End the call with another status."""
        ...

    def hold(  # noqa: PLR0913, PLR0917 - what there is to say
        self,
        whose: str,
        status: Status,
        text: str,
        pushback_ms: int,
        before_s: float | None,
        for_s: float,
        counted: Callable[[int], None],
    ) -> bool:
        """Have calls like this one, which was refused, refused alike for ``for_s``; return whether that will be.

        A transport need not be able to. Like it are calls of the same method, model, version and caller with a message
        of the same size and a deadline before ``before_s`` (None: with any or none), monotonic seconds. ``whose`` is
        empty where callers are not told apart, ``connection`` where they are by that, or the key of the metadata that
        does it. Each is told to try again in about ``pushback_ms``, or never where that is negative. ``counted`` is
        called on the loop, now and then, with the number of those refused so since the last time.
        """
        ...

    def on_cancel(self, left: Callable[[], None]) -> None:
        """Have ``left`` called, once and on the loop, if the caller leaves before the answer."""
        ...


class Stream(Protocol):
    """A call with many messages each way, handled by a coroutine that is cancelled where the caller leaves.

    When the coroutine returns, what was sent is still written, and the stream ends with OK.
    """

    @property
    def method(self) -> str:
        """The full name."""
        ...

    @property
    def metadata(self) -> Metadata:
        """The caller's metadata."""
        ...

    @property
    def deadline_s(self) -> float | None:
        """Monotonic seconds, None where the caller set no deadline."""
        ...

    @property
    def peer(self) -> Peer:
        """Who calls."""
        ...

    @property
    def trace(self) -> Trace | None:
        """The stream's record, None where nobody keeps one; a transport itself keeps none."""
        ...

    async def receive(self) -> bytes | None:
        """Return the next message, None when the caller has sent its last."""
        ...

    def send(self, message: bytes) -> None:
        """Send a message, in order; from any thread, without waiting."""
        ...

    async def sent(self, count: int) -> None:
        """Wait until ``count`` messages in all, since the stream began, are on their way to the caller."""
        ...

    def fail(self, status: Status, text: str, trailers: Metadata = ()) -> None:
        """End the stream with that status, after what was sent before; its coroutine is cancelled. From any thread."""
        ...


@dataclass(frozen=True, slots=True)
class Routes:
    """Who handles which method, by full name."""

    hot: Mapping[str, Callable[[Sequence[Call]], None]] = field(default_factory=dict)
    cold: Mapping[str, Callable[[Call], Awaitable[None]]] = field(default_factory=dict)
    streams: Mapping[str, Callable[[Stream], Awaitable[None]]] = field(default_factory=dict)
    first_message_only: frozenset[str] = frozenset()
    """Streams whose caller sends one message: unary request, streamed responses."""

    def joined(self, other: "Routes") -> "Routes":
        """Return the routes of both."""
        return Routes(
            {**self.hot, **other.hot},
            {**self.cold, **other.cold},
            {**self.streams, **other.streams},
            self.first_message_only | other.first_message_only,
        )


@dataclass(frozen=True, slots=True)
class ListenerOptions:
    """Where to listen, as HOST:PORT (port 0: any free one), and the outer fuses of a transport.

    ``max_message_bytes`` bounds a request's message and ``max_metadata_bytes`` its headers. ``max_calls`` bounds the
    calls under way at once: beyond it a transport itself refuses with RESOURCE_EXHAUSTED, so it lies above what
    admission lets in. With TLS a connection takes no new calls once it is ``max_connection_age_s`` old (0: never that),
    and what is under way on it has ``connection_grace_s`` more. The native transport carries the bytes on
    ``io_threads``; the other has threads of its own.
    """

    address: str
    max_message_bytes: int
    max_metadata_bytes: int
    max_calls: int
    max_connection_age_s: float = 0.0
    connection_grace_s: float = 30.0
    io_threads: int = 1


class TlsRefused(ValueError):
    """A transport cannot use this certificate, key or CA; ``str()`` says why."""


@dataclass(frozen=True, slots=True)
class TlsMaterial:
    """What a listener shows and demands in TLS handshakes, all PEM.

    ``certificate`` is the server's, followed by the intermediate ones. With a ``client_ca`` callers must have a
    certificate of one of these CAs.
    """

    certificate: bytes
    key: bytes = field(repr=False)
    client_ca: bytes = b""


@dataclass(frozen=True, slots=True)
class MethodStatistics:
    """The calls of one method that ended with one status, since the listener was made.

    ``method`` is as in ``inference.GRPCInferenceService/ModelInfer``, or ``_OTHER`` for all that are not routed.
    ``durations`` are seconds from the call's arrival to its end, and the bytes those of the messages.
    """

    method: str
    status: Status
    durations: Buckets
    request_bytes: int
    response_bytes: int

    def plus(self, other: "MethodStatistics") -> "MethodStatistics":
        """Return what two listeners counted of the same method and status."""
        assert (self.method, self.status) == (other.method, other.status), "only calls of one kind are summed"
        return MethodStatistics(
            self.method,
            self.status,
            self.durations.plus(other.durations),
            self.request_bytes + other.request_bytes,
            self.response_bytes + other.response_bytes,
        )


class Transport(Protocol):
    """A listener. ``start`` binds and serves, ``stop`` refuses new calls and waits for those under way."""

    def renew(self, material: TlsMaterial) -> None:
        """Use this in all handshakes from now on; from any thread. Connections that there are stay.

        Raises:
            TlsRefused: it cannot be used; what was used before stays in use. Not every transport can tell.
        """
        ...

    def statistics(self) -> Sequence[MethodStatistics]:
        """Return what was counted so far; from any thread."""
        ...

    def unread(self) -> int:
        """Return how many calls were refused so far because they would have been read too late; from any thread."""
        ...

    async def start(self) -> str:
        """Bind and serve; return the address as bound.

        Raises:
            OSError: the address cannot be bound.
        """
        ...

    async def stop(self, grace_s: float) -> None:
        """Refuse new calls, let those under way end within ``grace_s``, then end them."""
        ...
