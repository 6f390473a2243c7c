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


def channel_options(options: ClientOptions, *, checked: bool) -> list[tuple[str, int | str]]:
    """Return the RPC library's options; ``checked``: servers are asked whether they take calls, and left out if not."""
    config: dict[str, object] = {"loadBalancingConfig": [{"round_robin": {}}]}
    if checked:
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
        "grpc.min_reconnect_backoff_ms": 5_000,  # so long an attempt to connect may take; the default is 20 s
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


def open_channel(target: str, options: ClientOptions, material: Material | None, *, checked: bool) -> grpc.aio.Channel:
    """Open a channel; it connects with its first call."""
    compression = _COMPRESSION[options.compression]
    arguments = channel_options(options, checked=checked)
    if target.startswith("unix:"):
        arguments.insert(0, ("grpc.default_authority", "localhost"))  # gRPC's own, of the path, is malformed
    if material is None:
        return grpc.aio.insecure_channel(target, arguments, compression)
    credentials = grpc.ssl_channel_credentials(material.ca, material.key, material.certificate)
    return grpc.aio.secure_channel(target, credentials, arguments, compression)


class Connection:
    """One target's channels. What is replaced is closed after its last call, at most ``grace_s`` later.

    Beside the one that asks the server for its health there is a direct one, opened when it is needed, for calls that
    mean this very server whether it takes inferences or not: who has drained it must be able to undo that.
    """

    def __init__(self, target: str, options: ClientOptions, material: Material | None, *, several: bool) -> None:
        self.target = target
        self._options = options
        self._material = material
        self._checked = options.server_health and (several or target.startswith("dns:"))
        self._channel = open_channel(target, options, material, checked=self._checked)
        self._direct: grpc.aio.Channel | None = None
        self._leaving: set[asyncio.Task[None]] = set()

    @property
    def established(self) -> bool:
        """Whether there is a connection now."""
        return self._channel.get_state() is grpc.ChannelConnectivity.READY

    def channel(self, *, direct: bool = False) -> grpc.aio.Channel:
        """Return the channel of a call; ask anew for each attempt, and give its methods raw bytes."""
        if not direct or not self._checked:
            return self._channel
        if self._direct is None:
            self._direct = open_channel(self.target, self._options, self._material, checked=False)
        return self._direct

    def replace(self, material: Material, grace_s: float) -> None:
        """Open a channel with other certificates; calls under way end on the old one."""
        old = [self._channel] if self._direct is None else [self._channel, self._direct]
        self._material = material
        self._direct = None
        self._channel = open_channel(self.target, self._options, material, checked=self._checked)
        for channel in old:
            task = asyncio.get_running_loop().create_task(channel.close(grace_s))
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)

    async def close(self) -> None:
        """End every call and close all channels."""
        leaving = list(self._leaving)
        for task in leaving:
            task.cancel()
        await asyncio.gather(*leaving, return_exceptions=True)
        if self._direct is not None:
            await self._direct.close()
        await self._channel.close()
