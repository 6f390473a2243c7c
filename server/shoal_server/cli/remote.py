"""A server that runs elsewhere, as the commands see it: calls that return a message or end the command."""

from collections.abc import Iterator
from types import TracebackType
from typing import Annotated, Final, Literal, Self, TypeVar

import grpc
import typer
from google.protobuf.message import Message

from shoal_server.cli.credentials import chosen
from shoal_server.cli.failure import MISUSED, Failure
from shoal_server.cli.handshake import explained
from shoal_server.cli.tls_flags import UNSAID, TlsFlags
from shoal_server.config import ConfigError, Settings, load, socket_path, split_address

M = TypeVar("M", bound=Message)

Address = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT|unix:PATH",
        help="Where the server listens; by default what SHOAL_ADDRESS or shoal.toml says, or 127.0.0.1:8001.",
    ),
]
Timeout = Annotated[float, typer.Option(metavar="SECONDS", min=0.001, help="How long to wait for each answer.")]

# As gRPC words them when no call came about at all (its C core, src/core; there is no code that tells).
_UNREACHABLE: Final = ("failed to connect", "DNS resolution failed", "errors resolving", "Socket closed")
_TOO_LATE: Final = "Deadline Exceeded"  # said by this side; a server that gives up in time says more
_ANY_HOST: Final = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - what is listened on, not what we listen on


Place = Literal["address", "admin.address", "probe.address"]
"""Which of the configured listeners is meant where no address is given; where it has none, the one for everybody."""


class CallFailed(Failure):
    """The server answered with another status than OK; ``status`` is its name."""

    def __init__(self, status: str, details: str) -> None:
        super().__init__(f"{status}: {details}")
        self.status = status


class Remote:
    """A connection to one server, open between ``with`` and its end. Blocking.

    ``timeout_s`` bounds every call; None lets it take as long as it takes.
    """

    def __init__(
        self, address: str | None, timeout_s: float | None, tls: TlsFlags = UNSAID, place: Place = "address"
    ) -> None:
        self._timeout_s = timeout_s
        settings = _configured()
        self._address = reachable(_listening(settings, place) if address is None else address)
        # Probes are answered without TLS, always.
        is_probe = address is None and place == "probe.address" and bool(settings.probe.address)
        self._credentials = None if is_probe else chosen(tls, settings.client)
        self._channel = self._opened()

    def _opened(self) -> grpc.Channel:
        options: list[tuple[str, int | str]] = [
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
            # A proxy for the web has no business between a machine and its inference server.
            ("grpc.enable_http_proxy", 0),
        ]
        if self._address.startswith("unix:"):
            options.append(("grpc.default_authority", "localhost"))  # gRPC's own, of the path, is malformed
        if self._credentials is None:
            return grpc.insecure_channel(self._address, options=options)
        if self._credentials.server_name:
            options.append(("grpc.ssl_target_name_override", self._credentials.server_name))
        return grpc.secure_channel(self._address, self._credentials.channel_credentials(), options=options)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._channel.close()

    def call(self, method: str, request: Message, answer: type[M]) -> M:
        """Return the answer to one unary call; ``method`` is as in ``/grpc.health.v1.Health/Check``.

        Raises:
            Failure: no server is there, or (as CallFailed) it did not answer OK within the timeout.
        """
        stub = self._channel.unary_unary(
            method, request_serializer=type(request).SerializeToString, response_deserializer=answer.FromString
        )
        try:
            response: M = stub(request, timeout=self._timeout_s)
        except grpc.RpcError as error:
            raise self._failure(error) from error
        return response

    def stream(self, method: str, request: Message, answer: type[M]) -> Iterator[M]:
        """Yield the answers to one call until the server ends them; the call ends when the caller stops reading.

        Raises:
            Failure: as ``call`` does, after any number of answers.
        """
        stub = self._channel.unary_stream(
            method, request_serializer=type(request).SerializeToString, response_deserializer=answer.FromString
        )
        responses = stub(request, timeout=self._timeout_s)
        begun = False
        try:
            for response in responses:
                begun = True
                yield response
        except grpc.RpcError as error:
            raise self._failure(error, begun=begun) from error
        finally:
            responses.cancel()

    def _failure(self, error: grpc.RpcError, *, begun: bool = False) -> Failure:
        status, details = error.code().name, error.details() or ""
        if status == "UNAVAILABLE" and not begun and any(text in details for text in _UNREACHABLE):
            problem = explained(self._address, self._credentials)
            return Failure(
                problem
                or f"no server answers at {self._address}; start one by `shoal serve PATH`, or say where by --address"
            )
        if status == "DEADLINE_EXCEEDED" and _TOO_LATE in details:
            details = f"{self._address} gave no answer within {self._timeout_s:g} s; --timeout-s allows more"
        return CallFailed(status, details)


def reachable(listening: str) -> str:
    """Return the address by which a server on this machine is reached that listens as configured.

    Raises:
        Failure: it is no address, or its port is left to the system.
    """
    try:
        if socket_path(listening) is not None:
            return listening
        host, port = split_address(listening)
    except ValueError as error:
        raise Failure(str(error), MISUSED) from error
    if not port:
        raise Failure(f"the server at {listening} has a port that only its `ready` line tells; give --address", MISUSED)
    return f"{_ANY_HOST.get(host, host)}:{port}"


def _configured() -> Settings:
    try:
        return load({}).settings
    except ConfigError as error:
        raise Failure(str(error), MISUSED) from error


def _listening(settings: Settings, place: Place) -> str:
    side = {"address": "", "admin.address": settings.admin.address, "probe.address": settings.probe.address}[place]
    return side or settings.address
