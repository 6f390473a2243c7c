"""ModelReady, ModelMetadata, ModelConfig and ModelStatistics."""

from collections.abc import Iterator

from shoal.inference import grpc_service_pb2 as pb
from shoal_server.batching.batcher import Batcher
from shoal_server.batching.statistics import Stages, Total
from shoal_server.clock import Clock
from shoal_server.errors import NotFound, Unavailable
from shoal_server.lifecycle.manager import Manager
from shoal_server.lifecycle.slot import VersionSlot
from shoal_server.lifecycle.states import VersionState
from shoal_server.rpc.model_config import PLATFORM, model_config
from shoal_server.rpc.readiness import Readiness
from shoal_server.tensors.spec import TensorSpec


class ModelMethods:
    """What can be asked about one model."""

    def __init__(self, manager: Manager[Batcher], readiness: Readiness, clock: Clock) -> None:
        self._manager = manager
        self._readiness = readiness
        self._clock = clock

    async def ready(self, request: pb.ModelReadyRequest) -> pb.ModelReadyResponse:
        """Whether a call to the version, or to the model, would be let in now; False for what is unknown."""
        try:
            slot = self._manager.catalog.resolve(request.name, request.version)
        except (NotFound, Unavailable):
            return pb.ModelReadyResponse(ready=False)
        return pb.ModelReadyResponse(ready=slot.state is VersionState.READY and not self._readiness.is_draining)

    async def metadata(self, request: pb.ModelMetadataRequest) -> pb.ModelMetadataResponse:
        """Inputs and outputs, the batch dimension included."""
        slot = self._manager.catalog.resolve(request.name, request.version)
        signature = slot.serving().runner.signature
        entry = self._manager.catalog.models[request.name]
        ready = [str(number) for number, other in entry.versions.items() if other.state is VersionState.READY]
        return pb.ModelMetadataResponse(
            name=request.name,
            versions=[str(slot.version)] if request.version else ready,
            platform=PLATFORM,
            inputs=[_tensor(spec) for spec in signature.inputs],
            outputs=[_tensor(spec) for spec in signature.outputs],
        )

    async def config(self, request: pb.ModelConfigRequest) -> pb.ModelConfigResponse:
        """The configuration in effect, in Triton's terms."""
        slot = self._manager.catalog.resolve(request.name, request.version)
        return pb.ModelConfigResponse(config=model_config(slot.definition, slot.serving(), slot.digest))

    async def statistics(self, request: pb.ModelStatisticsRequest) -> pb.ModelStatisticsResponse:
        """Counts and nanoseconds since each ready version was loaded."""
        return pb.ModelStatisticsResponse(
            model_stats=[self._statistics(slot.serving()) for slot in self._asked(request.name, request.version)]
        )

    def _asked(self, name: str, version: str) -> Iterator[VersionSlot[Batcher]]:
        if name and version:
            yield self._manager.catalog.resolve(name, version)
            return
        if name:
            self._manager.catalog.resolve(name, "")
        for slot in self._manager.catalog.slots():
            if slot.state is VersionState.READY and name in ("", slot.model):
                yield slot

    def _statistics(self, batcher: Batcher) -> pb.ModelStatistics:
        statistics = batcher.statistics
        age_s = self._clock.monotonic() - statistics.last_inference_s
        stages = statistics.stages
        return pb.ModelStatistics(
            name=batcher.origin.model,
            version=str(batcher.origin.version),
            last_inference=int((self._clock.epoch() - age_s) * 1000) if statistics.execution_count else 0,
            inference_count=statistics.inference_count,
            execution_count=statistics.execution_count,
            inference_stats=pb.InferStatistics(
                success=_duration(statistics.success),
                fail=_duration(statistics.fail),
                queue=_duration(statistics.queue),
                **_compute(stages),
                cache_hit=_duration(statistics.cache_hit),
                cache_miss=_duration(statistics.cache_miss),
            ),
            batch_stats=[_batch(rows, per_size) for rows, per_size in sorted(statistics.batches.items())],
        )


def _duration(total: Total) -> pb.StatisticDuration:
    return pb.StatisticDuration(count=total.count, ns=total.ns)


def _compute(stages: Stages) -> dict[str, pb.StatisticDuration]:
    return {
        f"compute_{stage}": pb.StatisticDuration(count=stages.count, ns=ns)
        for stage, ns in (("input", stages.input_ns), ("infer", stages.infer_ns), ("output", stages.output_ns))
    }


def _batch(rows: int, stages: Stages) -> pb.InferBatchStatistics:
    return pb.InferBatchStatistics(
        batch_size=rows,
        **_compute(stages),
    )


def _tensor(spec: TensorSpec) -> pb.ModelMetadataResponse.TensorMetadata:
    return pb.ModelMetadataResponse.TensorMetadata(name=spec.name, datatype=spec.datatype.value, shape=spec.shape)
