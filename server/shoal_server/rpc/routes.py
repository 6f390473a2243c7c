"""Which method is handled by whom."""

from typing import Final

from shoal.health import health_pb2
from shoal.inference import grpc_service_pb2 as pb
from shoal.methods import METHODS
from shoal_server.batching.batcher import Batcher
from shoal_server.clock import Clock
from shoal_server.lifecycle.manager import Manager
from shoal_server.options import CallerOptions
from shoal_server.rpc.caller import caller_of, whose
from shoal_server.rpc.cold import cold
from shoal_server.rpc.encode import ResponseEncoder
from shoal_server.rpc.health import HealthMethods
from shoal_server.rpc.inference import InferenceHandler
from shoal_server.rpc.model import ModelMethods
from shoal_server.rpc.plain import plain_reader
from shoal_server.rpc.readiness import Readiness
from shoal_server.rpc.reflection import ReflectionMethods
from shoal_server.rpc.repository import RepositoryMethods
from shoal_server.rpc.server import About, ServerMethods
from shoal_server.rpc.stream import StreamHandler
from shoal_server.service import InferenceService
from shoal_server.transport.port import Routes

_INFERENCE: Final = "/inference.GRPCInferenceService/"
_HEALTH: Final = "/grpc.health.v1.Health/"
_REFLECTION: Final = (
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
)


def routes(  # noqa: PLR0913 - what the methods are made of
    service: InferenceService,
    manager: Manager[Batcher],
    readiness: Readiness,
    clock: Clock,
    about: About,
    *,
    callers: CallerOptions | None = None,
) -> Routes:
    """Return the routes of the whole protocol; what is published and not routed is UNIMPLEMENTED."""
    named = caller_of(callers)
    encoder = ResponseEncoder()
    inference = InferenceHandler(service, encoder, named, plain_reader(), whose(callers))
    server = ServerMethods(readiness, about)
    model = ModelMethods(manager, readiness, clock)
    repository = RepositoryMethods(manager)
    health = HealthMethods(readiness)
    # The older name of reflection has no descriptor of its own, so it is served and not listed.
    services = tuple(dict.fromkeys(path.split("/")[1] for path in METHODS if ".v1alpha." not in path))
    reflection = ReflectionMethods(pb.DESCRIPTOR.pool, services)
    return Routes(
        hot={_INFERENCE + "ModelInfer": inference.handle},
        cold=dict(
            [
                cold(_INFERENCE + "ServerLive", pb.ServerLiveRequest, server.live),
                cold(_INFERENCE + "ServerReady", pb.ServerReadyRequest, server.ready),
                cold(_INFERENCE + "ServerMetadata", pb.ServerMetadataRequest, server.metadata),
                cold(_INFERENCE + "ModelReady", pb.ModelReadyRequest, model.ready),
                cold(_INFERENCE + "ModelMetadata", pb.ModelMetadataRequest, model.metadata),
                cold(_INFERENCE + "ModelConfig", pb.ModelConfigRequest, model.config),
                cold(_INFERENCE + "ModelStatistics", pb.ModelStatisticsRequest, model.statistics),
                cold(_INFERENCE + "RepositoryIndex", pb.RepositoryIndexRequest, repository.index),
                cold(_INFERENCE + "RepositoryModelLoad", pb.RepositoryModelLoadRequest, repository.load),
                cold(_INFERENCE + "RepositoryModelUnload", pb.RepositoryModelUnloadRequest, repository.unload),
                cold(_HEALTH + "Check", health_pb2.HealthCheckRequest, health.check),
                cold(_HEALTH + "List", health_pb2.HealthListRequest, health.list),
            ]
        ),
        streams={
            _INFERENCE + "ModelStreamInfer": StreamHandler(service, encoder, named).handle,
            _HEALTH + "Watch": health.watch,
            **dict.fromkeys(_REFLECTION, reflection.info),
        },
        first_message_only=frozenset({_HEALTH + "Watch"}),
    )
