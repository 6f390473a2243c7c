"""The connection to one target, and its replacement when the certificates change."""

import asyncio
import json
from typing import Final

import grpc
import grpc.aio

from shoal_client.errors import ConfigurationError
from shoal_client.options import ClientOptions
from shoal_client.tls import Material

_USER_AGENT: Final = "shoal-client"
_SCHEMES: Final = ("dns:", "unix:", "unix-abstract:", "ipv4:", "ipv6:", "vsock:", "xds:", "google-c2p:")
_COMPRESSION: Final = {
    "none": grpc.Compression.NoCompression,
    "gzip": grpc.Compression.Gzip,
    "deflate": grpc.Compression.Deflate,
}
_MOST_PORT: Final = 65535


def check_target(target: str) -> str:
    """Return a target: HOST:PORT, or a name that gRPC resolves, such as ``dns:///models.svc:8001``.

    Raises:
        ConfigurationError: it is neither.
    """
    if not target or not target.isprintable() or " " in target:
        raise ConfigurationError(f"a target is HOST:PORT or a name such as dns:///HOST:PORT, got {target!r:.80}")
    if target.startswith(_SCHEMES):
        return target
    if "://" in target:
        raise ConfigurationError(f"a target is HOST:PORT without http:// or the like, got {target!r:.80}")
    host, colon, port = target.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or not 0 < int(port) <= _MOST_PORT:
        raise ConfigurationError(f"a target is HOST:PORT with a port from 1 to {_MOST_PORT}, got {target!r:.80}")
    return target


def channel_options(options: ClientOptions, *, several: bool) -> list[tuple[str, int | str]]:
    """Return the RPC library's options; ``several``: the target is one of several, or a name of several servers."""
    config: dict[str, object] = {"loadBalancingConfig": [{"round_robin": {}}]}
    if several and options.server_health:
        config["healthCheckConfig"] = {"serviceName": ""}
    chosen: dict[str, int | str] = {
        "grpc.max_send_message_length": options.max_message_bytes,
        "grpc.max_receive_message_length": options.max_message_bytes,
        # A proxy for the web has no business between a service and its inference server.
        "grpc.enable_http_proxy": 0,
        # Connections of its own, so that closing a client closes them and new certificates are shown at once.
        "grpc.use_local_subchannel_pool": 1,
        "grpc.primary_user_agent": _USER_AGENT,
        "grpc.service_config": json.dumps(config),
        # A server that comes back is found again within seconds; the default grows to two minutes.
        "grpc.initial_reconnect_backoff_ms": 100,
        "grpc.max_reconnect_backoff_ms": 5_000,
    }
    if options.keepalive is not None:
        chosen["grpc.keepalive_time_ms"] = round(options.keepalive.time_s * 1000)
        chosen["grpc.keepalive_timeout_ms"] = round(options.keepalive.timeout_s * 1000)
        # The first alone changes nothing where the peer's machine still answers: then gRPC waits a minute for a ping.
        chosen["grpc.http2.ping_timeout_ms"] = round(options.keepalive.timeout_s * 1000)
        chosen["grpc.keepalive_permit_without_calls"] = int(options.keepalive.while_idle)
    if options.tls is not None and options.tls.server_name:
        chosen["grpc.ssl_target_name_override"] = options.tls.server_name
    return list((chosen | dict(options.channel_options)).items())


def open_channel(target: str, options: ClientOptions, material: Material | None, *, several: bool) -> grpc.aio.Channel:
    """Open a channel; it connects with its first call."""
    compression = _COMPRESSION[options.compression]
    arguments = channel_options(options, several=several or target.startswith("dns:"))
    if material is None:
        return grpc.aio.insecure_channel(target, arguments, compression)
    credentials = grpc.ssl_channel_credentials(material.ca, material.key, material.certificate)
    return grpc.aio.secure_channel(target, credentials, arguments, compression)


class Connection:
    """One target's channel. A replaced channel is closed after its last call, at most ``grace_s`` later.

    ``unary`` and ``streamed`` return the callables of a method for raw bytes; ask anew for each attempt.
    """

    def __init__(self, target: str, options: ClientOptions, material: Material | None, *, several: bool) -> None:
        self.target = target
        self._options = options
        self._several = several
        self._channel = open_channel(target, options, material, several=several)
        self._leaving: set[asyncio.Task[None]] = set()

    def unary(self, path: str) -> "grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]":
        """Return the callable of a method with one request and one answer."""
        return self._channel.unary_unary(path)

    def server_stream(self, path: str) -> "grpc.aio.UnaryStreamMultiCallable[bytes, bytes]":
        """Return the callable of a method with one request and many answers."""
        return self._channel.unary_stream(path)

    def both_streams(self, path: str) -> "grpc.aio.StreamStreamMultiCallable[bytes, bytes]":
        """Return the callable of a method with many requests and many answers."""
        return self._channel.stream_stream(path)

    def replace(self, material: Material, grace_s: float) -> None:
        """Open a channel with other certificates; calls under way end on the old one."""
        old = self._channel
        self._channel = open_channel(self.target, self._options, material, several=self._several)
        task = asyncio.get_running_loop().create_task(old.close(grace_s))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def close(self) -> None:
        """End every call and close all channels."""
        leaving = list(self._leaving)
        for task in leaving:
            task.cancel()
        await asyncio.gather(*leaving, return_exceptions=True)
        await self._channel.close()
