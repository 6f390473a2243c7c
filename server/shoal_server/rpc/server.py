"""ServerLive, ServerReady and ServerMetadata."""

from typing import Final

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


class ServerMethods:
    """The server as a whole."""

    def __init__(self, readiness: Readiness, version: str) -> None:
        self._readiness = readiness
        self._version = version

    async def live(self, _request: pb.ServerLiveRequest) -> pb.ServerLiveResponse:
        """Whoever can answer is alive."""
        return pb.ServerLiveResponse(live=True)

    async def ready(self, _request: pb.ServerReadyRequest) -> pb.ServerReadyResponse:
        """Whether the first load is over and draining has not begun."""
        return pb.ServerReadyResponse(ready=self._readiness.server_ready)

    async def metadata(self, _request: pb.ServerMetadataRequest) -> pb.ServerMetadataResponse:
        """Name, version and extensions."""
        return pb.ServerMetadataResponse(name=NAME, version=self._version, extensions=EXTENSIONS)
