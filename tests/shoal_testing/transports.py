"""The transports that can be used here."""

from importlib import import_module
from typing import Any

from shoal_server.transport.choice import why_not_native
from shoal_server.transport.grpcio import GrpcioTransport


def transport_classes() -> list[type[Any]]:
    """Return the adapters' classes; the native one where its crate is installed."""
    classes: list[type[Any]] = [GrpcioTransport]
    if why_not_native() is None:
        classes.append(import_module("shoal_server.transport.native").NativeTransport)
    return classes
