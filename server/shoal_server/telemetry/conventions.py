"""Names of OpenTelemetry's semantic conventions, version 1.45, in which those for RPC are stable."""

from typing import Final

from shoal_server.transport.port import Status

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.45.0"

RPC_SYSTEM_NAME: Final = "rpc.system.name"
RPC_METHOD: Final = "rpc.method"
RPC_STATUS_CODE: Final = "rpc.status_code"
ERROR_TYPE: Final = "error.type"
PEER_ADDRESS: Final = "network.peer.address"
PEER_PORT: Final = "network.peer.port"

_ERRORS: Final = frozenset(
    {
        Status.UNKNOWN,
        Status.DEADLINE_EXCEEDED,
        Status.UNIMPLEMENTED,
        Status.INTERNAL,
        Status.UNAVAILABLE,
        Status.DATA_LOSS,
    }
)


def is_error(status: Status) -> bool:
    """Whether a status counts as an error of the server: a caller's mistake and a refused overload do not."""
    return status in _ERRORS
