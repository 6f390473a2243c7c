"""RepositoryIndex, RepositoryModelLoad and RepositoryModelUnload (Triton's model repository extension)."""

from typing import Final

from shoal.inference import grpc_service_pb2 as pb
from shoal_server.batching.batcher import Batcher
from shoal_server.errors import Unsupported
from shoal_server.lifecycle.manager import Manager
from shoal_server.lifecycle.states import VersionState

_STATES: Final = {
    VersionState.QUEUED: "LOADING",
    VersionState.LOADING: "LOADING",
    VersionState.WARMING: "LOADING",
    VersionState.READY: "READY",
    VersionState.DRAINING: "UNLOADING",
    VersionState.UNLOADING: "UNLOADING",
    VersionState.UNLOADED: "UNAVAILABLE",
    VersionState.FAILED: "UNAVAILABLE",
}


class RepositoryMethods:
    """The models that the source has, and bringing them into and out of service."""

    def __init__(self, manager: Manager[Batcher]) -> None:
        self._manager = manager

    async def index(self, request: pb.RepositoryIndexRequest) -> pb.RepositoryIndexResponse:
        """Every model and version known, with its state and the reason for it."""
        response = pb.RepositoryIndexResponse()
        for name, entry in sorted(self._manager.catalog.models.items()):
            if not entry.versions and not entry.refused and not request.ready:
                response.models.add(name=name, state="UNAVAILABLE", reason=entry.problem)
            for slot in entry.versions.values():
                if slot.state is VersionState.READY or not request.ready:
                    response.models.add(
                        name=name, version=str(slot.version), state=_STATES[slot.state], reason=slot.reason
                    )
            for number, reason in entry.refused.items():
                if number not in entry.versions and not request.ready:
                    response.models.add(name=name, version=str(number), state="UNAVAILABLE", reason=reason)
        return response

    async def load(self, request: pb.RepositoryModelLoadRequest) -> pb.RepositoryModelLoadResponse:
        """Read the model's folder again and serve what it holds now; returns when that is done."""
        if request.parameters:
            raise Unsupported(f"load parameters are not offered: {sorted(request.parameters)}")
        await self._manager.load(request.model_name)
        return pb.RepositoryModelLoadResponse()

    async def unload(self, request: pb.RepositoryModelUnloadRequest) -> pb.RepositoryModelUnloadResponse:
        """Withdraw the model; returns when its last request is answered and its memory is given back."""
        await self._manager.unload(request.model_name)
        return pb.RepositoryModelUnloadResponse()
