"""TLS to a target: whom the load generator trusts, and what it shows."""

from collections.abc import Sequence
from dataclasses import dataclass

import grpc
import grpc.aio


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM. ``certificate`` and ``key`` are empty where none is shown; ``server_name``: what the server has."""

    ca: bytes
    certificate: bytes = b""
    key: bytes = b""
    server_name: str = ""

    def credentials(self) -> grpc.ChannelCredentials:
        """Return them as gRPC takes them."""
        return grpc.ssl_channel_credentials(self.ca, self.key or None, self.certificate or None)

    def options(self) -> tuple[tuple[str, str], ...]:
        """Return the channel's options that go with them."""
        return (("grpc.ssl_target_name_override", self.server_name),) if self.server_name else ()

    def name_at(self, target: str) -> str:
        """Return the name that the certificate of a target, HOST:PORT, is to have."""
        return self.server_name or target.rpartition(":")[0].strip("[]")


def channel(target: str, tls: Tls | None, options: Sequence[tuple[str, int | str]]) -> grpc.Channel:
    """Return a blocking channel to the target."""
    options = (*options, *_authority(target))
    if tls is None:
        return grpc.insecure_channel(target, options=options)
    return grpc.secure_channel(target, tls.credentials(), options=(*options, *tls.options()))


def aio_channel(target: str, tls: Tls | None, options: Sequence[tuple[str, int | str]]) -> grpc.aio.Channel:
    """Return a channel of the running event loop to the target."""
    options = (*options, *_authority(target))
    if tls is None:
        return grpc.aio.insecure_channel(target, options=options)
    return grpc.aio.secure_channel(target, tls.credentials(), options=(*options, *tls.options()))


def _authority(target: str) -> tuple[tuple[str, str], ...]:
    """Return the option without which gRPC makes a malformed authority of a Unix socket's path."""
    return (("grpc.default_authority", "localhost"),) if target.startswith("unix:") else ()
