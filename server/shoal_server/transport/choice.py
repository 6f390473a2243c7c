"""Which transport carries the calls: the native one where it is installed, grpcio otherwise."""

import logging
from importlib import import_module
from typing import Final, Literal

from shoal_server.clock import Clock
from shoal_server.mailbox import Mailbox
from shoal_server.transport.port import ListenerOptions, Routes, TlsMaterial, Transport

_log = logging.getLogger(__name__)

Kind = Literal["auto", "native", "grpcio"]
Chosen = Literal["native", "grpcio"]

LOST: Final = "it carries about a twentieth of the calls that the native transport does"
"""What a server without the native transport lacks."""


class TransportMissing(Exception):
    """The native transport was asked for and cannot be imported; ``str()`` says why."""


def why_not_native() -> str | None:
    """Return why the native transport cannot be used here; None where it can."""
    try:
        import_module("shoal_native")
    except ImportError as error:
        return f"shoal-native cannot be imported ({error})"
    return None


def chosen(kind: Kind) -> Chosen:
    """Return the transport that ``kind`` means on this machine; auto without the native one is logged.

    Raises:
        TransportMissing: the native one was asked for and is not installed.
    """
    if kind == "grpcio":
        return "grpcio"
    missing = why_not_native()
    if missing is None:
        return "native"
    if kind == "native":
        raise TransportMissing(f"transport = native: {missing}; build it by `make native`, or say grpcio")
    _log.warning("serving by grpcio: %s; %s", missing, LOST)
    return "grpcio"


def open_transport(  # noqa: PLR0913 - what a listener is made of
    kind: Chosen,
    options: ListenerOptions,
    routes: Routes,
    clock: Clock,
    mailbox: Mailbox,
    *,
    max_bytes: int,
    tls: TlsMaterial | None = None,
) -> Transport:
    """Return a listener of that kind; ``max_bytes`` bounds the messages that the native one holds in memory."""
    if kind == "grpcio":
        # Here, as a server on the native transport has no use for grpc, which takes a while to import.
        from shoal_server.transport.grpcio import GrpcioTransport  # noqa: PLC0415 - see above

        return GrpcioTransport(options, routes, clock, mailbox, tls)
    # Here, because it can be imported only where the crate is installed.
    native = import_module("shoal_server.transport.native")
    transport: Transport = native.NativeTransport(
        native.NativeOptions(
            options.address,
            options.max_message_bytes,
            options.max_metadata_bytes,
            options.max_calls,
            max_bytes=max_bytes,
            max_connection_age_s=options.max_connection_age_s if tls is not None else 0.0,
            connection_grace_s=options.connection_grace_s,
            io_threads=options.io_threads,
        ),
        routes,
        clock,
        tls,
    )
    return transport
