"""grpc.health.v1: the server as a whole (""), and each model by its name.

The protocol is described in github.com/grpc/grpc, doc/health-checking.md.
"""

from typing import Final

from shoal.health import health_pb2 as pb
from shoal_server.errors import InvalidRequest, NotFound
from shoal_server.rpc.cold import parsed
from shoal_server.rpc.failure import fail
from shoal_server.rpc.readiness import Readiness
from shoal_server.transport.port import Stream

SERVICE: Final = "inference.GRPCInferenceService"

_State = pb.HealthCheckResponse.ServingStatus


class HealthMethods:
    """Tells the real state, now and whenever it changes."""

    def __init__(self, readiness: Readiness) -> None:
        self._readiness = readiness

    async def check(self, request: pb.HealthCheckRequest) -> pb.HealthCheckResponse:
        """The state now.

        Raises:
            NotFound: no such service or model.
        """
        status = self._statuses().get(request.service)
        if status is None:
            raise NotFound(f"unknown service or model {request.service!r:.120}")
        return pb.HealthCheckResponse(status=status)

    async def list(self, _request: pb.HealthListRequest) -> pb.HealthListResponse:
        """The state of everything known."""
        statuses = self._statuses().items()
        return pb.HealthListResponse(
            statuses={name: pb.HealthCheckResponse(status=status) for name, status in statuses}
        )

    async def watch(self, stream: Stream) -> None:
        """The state now and whenever it changes, until the caller leaves; what is unknown may come to be known."""
        try:
            request = parsed(pb.HealthCheckRequest, await stream.receive() or b"")
        except InvalidRequest as error:
            fail(stream, error)
            return
        told: _State.ValueType | None = None
        count = 0
        async for _ in self._readiness.changes():
            status = self._statuses().get(request.service, _State.SERVICE_UNKNOWN)
            if status != told:
                told = status
                stream.send(pb.HealthCheckResponse(status=status).SerializeToString())
                count += 1
                # A watcher who reads slowly is told the newest state, not every state on the way.
                await stream.sent(count)

    def _statuses(self) -> dict[str, _State.ValueType]:
        ready = self._readiness.server_ready
        states = {"": ready, SERVICE: ready} | self._readiness.models()
        return {name: _State.SERVING if serving else _State.NOT_SERVING for name, serving in states.items()}
