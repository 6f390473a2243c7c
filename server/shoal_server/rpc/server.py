"""ServerLive, ServerReady and ServerMetadata."""

from typing import Final, NamedTuple

from shoal.inference import grpc_service_pb2 as pb
from shoal_server.rpc.readiness import Readiness

NAME: Final = "shoal"
EXTENSIONS: Final = (
    "binary_tensor_data",
    "model_configuration",
    "model_repository",
    "model_repository(unload_dependents)",
    "schedule_policy",
    "statistics",
)
"""Triton's names of the extensions offered (triton-inference-server/server, docs/protocol)."""


class About(NamedTuple):
    """What runs here: the version of Shoal, and what carries the calls, native or grpcio."""

    version: str
    transport: str


class ServerMethods:
    """The server as a whole."""

    def __init__(self, readiness: Readiness, about: About) -> None:
        self._readiness = readiness
        self._version = about.version
        self._extensions = (*EXTENSIONS, f"shoal_transport({about.transport})")

    async def live(self, _request: pb.ServerLiveRequest) -> pb.ServerLiveResponse:
        """Whoever can answer is alive."""
        return pb.ServerLiveResponse(live=True)

    async def ready(self, _request: pb.ServerReadyRequest) -> pb.ServerReadyResponse:
        """Whether the first load is over and draining has not begun."""
        return pb.ServerReadyResponse(ready=self._readiness.server_ready)

    async def metadata(self, _request: pb.ServerMetadataRequest) -> pb.ServerMetadataResponse:
        """Name, version and extensions, among which stands what carries this server's calls."""
        return pb.ServerMetadataResponse(name=NAME, version=self._version, extensions=self._extensions)
