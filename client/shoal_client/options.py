"""How a client behaves: small frozen options, checked where they are made."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypedDict

from shoal_client.errors import ConfigurationError
from shoal_client.hedging import Hedging
from shoal_client.retry import RetryOptions
from shoal_client.tls import Tls
from shoal_client.window import Coalescing

Metadata = Mapping[str, str | bytes]
"""Names in lower case; values of names that end in ``-bin`` are bytes."""

DEFAULT_TIMEOUT_S: Final = 30.0
DEFAULT_OPERATION_S: Final = 900.0
DEFAULT_MESSAGE_BYTES: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class Keepalive:
    """Pings on connections that carry nothing, so that a peer that vanished is noticed.

    Attributes:
        time_s: silence before a ping, in seconds. Servers that were not told otherwise take pings more often than every
            300 s for an attack and close the connection; a Shoal server takes one every 10 s.
        timeout_s: how long a ping may stay without an answer, in seconds.
        while_idle: also ping while no call is under way.
    """

    time_s: float = 300.0
    timeout_s: float = 20.0
    while_idle: bool = False

    def __post_init__(self) -> None:
        if self.time_s <= 0 or self.timeout_s <= 0:
            raise ConfigurationError(f"time_s and timeout_s are above 0, got {self.time_s} and {self.timeout_s}")


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """All that can be set for a client; each field is an argument of ``AsyncClient`` and ``Client``.

    Attributes:
        timeout_s: the time of a call that names none, in seconds: every call has a deadline.
        operation_timeout_s: the same for changes of models, which load files, in seconds.
        retry: how failed calls are sent again; None: never.
        hedging: when a slow inference is sent a second time; None: never.
        coalescing: how single rows travel together; None: each alone.
        tls: certificates; None connects without TLS.
        metadata: sent with every call.
        trace_context: gives the headers of the current trace (``traceparent``, ``tracestate``) to a process that does
            not use OpenTelemetry; whose API is asked anyway if the process has imported it.
        compression: of requests; servers choose for their answers.
        keepalive: pings on silent connections; None: none.
        max_message_bytes: the largest message in either direction, in bytes; -1 for any.
        server_health: ask each server of a ``dns:///`` target, and each of several targets, by the health protocol
            whether it takes calls; one that does not know that protocol counts as healthy (gRPC says so on stderr).
        channel_options: further options of the RPC library, by name, for what has no option here.
    """

    timeout_s: float = DEFAULT_TIMEOUT_S
    operation_timeout_s: float = DEFAULT_OPERATION_S
    retry: RetryOptions | None = field(default_factory=RetryOptions)
    hedging: Hedging | None = None
    coalescing: Coalescing | None = None
    tls: Tls | None = None
    metadata: Metadata = field(default_factory=dict)
    trace_context: Callable[[], Mapping[str, str]] | None = None
    compression: Literal["none", "gzip", "deflate"] = "none"
    keepalive: Keepalive | None = field(default_factory=Keepalive)
    max_message_bytes: int = DEFAULT_MESSAGE_BYTES
    server_health: bool = True
    channel_options: Mapping[str, int | str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_timeout(self.timeout_s, "timeout_s")
        check_timeout(self.operation_timeout_s, "operation_timeout_s")
        check_metadata(self.metadata)
        if self.compression not in ("none", "gzip", "deflate"):
            raise ConfigurationError(f"compression is none, gzip or deflate, got {self.compression!r:.40}")
        if self.max_message_bytes != -1 and self.max_message_bytes < 1:
            raise ConfigurationError(f"max_message_bytes is above 0, or -1 for any, got {self.max_message_bytes}")


class ClientArguments(TypedDict, total=False):
    """The fields of ``ClientOptions`` as the arguments of a client; that class explains each."""

    timeout_s: float
    operation_timeout_s: float
    retry: RetryOptions | None
    hedging: Hedging | None
    coalescing: Coalescing | None
    tls: Tls | None
    metadata: Metadata
    trace_context: Callable[[], Mapping[str, str]] | None
    compression: Literal["none", "gzip", "deflate"]
    keepalive: Keepalive | None
    max_message_bytes: int
    server_health: bool
    channel_options: Mapping[str, int | str]


def check_timeout(timeout_s: float, name: str = "timeout_s") -> float:
    """Return a time that a call may take.

    Raises:
        ConfigurationError: it is no time above 0 that ends; a day is the longest.
    """
    day_s = 86_400.0
    try:
        possible = 0 < timeout_s <= day_s
    except TypeError:
        possible = False
    if not possible:
        raise ConfigurationError(f"{name} is above 0 and at most {day_s:g} s, got {timeout_s!r}")
    return timeout_s


def check_metadata(metadata: Metadata) -> None:
    """Refuse what gRPC would refuse later and less clearly.

    Raises:
        ConfigurationError: a name or a value cannot travel as metadata.
    """
    for name, value in metadata.items():
        letters = name.replace("-", "").replace("_", "").replace(".", "")
        if name != name.lower() or not letters.isascii() or not letters.isalnum():
            raise ConfigurationError(
                f"metadata names are lower-case letters, digits, '-', '_' and '.', got {name!r:.60}"
            )
        if name.startswith("grpc-"):
            raise ConfigurationError(f"metadata names that begin with grpc- belong to gRPC itself, got {name!r:.60}")
        if name.endswith("-bin") != isinstance(value, bytes):
            raise ConfigurationError(f"metadata {name!r:.60} is bytes if its name ends in -bin, and str if it does not")
        if isinstance(value, str) and not (value.isascii() and value.isprintable()):
            raise ConfigurationError(
                f"metadata {name!r:.60} is printable ASCII; bytes go under a name that ends in -bin"
            )
