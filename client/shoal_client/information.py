"""What a server tells about itself and its models, as plain values."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from shoal.inference import grpc_service_pb2 as pb
from shoal_client.signature import ModelMetadata, TensorSpec

INFERENCE: Final = "/inference.GRPCInferenceService/"


@dataclass(frozen=True, slots=True)
class ServerMetadata:
    """A server: its name, its version, and the protocol extensions that it offers ("statistics", ...)."""

    name: str
    version: str
    extensions: tuple[str, ...]

    def offers(self, extension: str) -> bool:
        """Whether an extension is offered, by Triton's name of it; "model_repository(unload_dependents)" is a part."""
        return any(name == extension or name.startswith(extension + "(") for name in self.extensions)


@dataclass(frozen=True, slots=True)
class Spent:
    """How often something happened, and how long it took in all, in seconds."""

    count: int
    total_s: float

    @property
    def mean_s(self) -> float:
        """How long it took on average, in seconds; 0 if it never happened."""
        return self.total_s / self.count if self.count else 0.0


@dataclass(frozen=True, slots=True)
class ModelStatistics:
    """What a version has done since it was loaded.

    Attributes:
        name: the model.
        version: its version.
        last_inference_s: when the latest inference arrived, in seconds since 1970-01-01 UTC; 0: never.
        rows: rows inferred; a request of 8 rows adds 8.
        executions: how often the model ran; rows / executions is the mean batch.
        stages: where requests spent their time: "success", "fail", "queue", "compute_input", "compute_infer",
            "compute_output", "cache_hit", "cache_miss".
        batches: runs of the model by the rows of the batch.
    """

    name: str
    version: str
    last_inference_s: float
    rows: int
    executions: int
    stages: Mapping[str, Spent]
    batches: Mapping[int, Spent]


@dataclass(frozen=True, slots=True)
class RepositoryEntry:
    """A model version in the server's repository: its state ("READY", "UNAVAILABLE", ...) and why, if not by wish."""

    name: str
    version: str
    state: str
    reason: str


def server_metadata(message: pb.ServerMetadataResponse) -> ServerMetadata:
    """Return the message's content."""
    return ServerMetadata(message.name, message.version, tuple(message.extensions))


def model_metadata(message: pb.ModelMetadataResponse) -> ModelMetadata:
    """Return the message's content."""
    return ModelMetadata(
        message.name,
        tuple(message.versions),
        message.platform,
        tuple([TensorSpec(spec.name, spec.datatype, tuple(spec.shape)) for spec in message.inputs]),
        tuple([TensorSpec(spec.name, spec.datatype, tuple(spec.shape)) for spec in message.outputs]),
    )


def model_statistics(message: pb.ModelStatistics) -> ModelStatistics:
    """Return the message's content."""
    stages = message.inference_stats
    return ModelStatistics(
        message.name,
        message.version,
        message.last_inference / 1e3,
        message.inference_count,
        message.execution_count,
        {
            "success": _spent(stages.success),
            "fail": _spent(stages.fail),
            "queue": _spent(stages.queue),
            "compute_input": _spent(stages.compute_input),
            "compute_infer": _spent(stages.compute_infer),
            "compute_output": _spent(stages.compute_output),
            "cache_hit": _spent(stages.cache_hit),
            "cache_miss": _spent(stages.cache_miss),
        },
        {batch.batch_size: _spent(batch.compute_infer) for batch in message.batch_stats},
    )


def repository_entry(message: pb.RepositoryIndexResponse.ModelIndex) -> RepositoryEntry:
    """Return the message's content."""
    return RepositoryEntry(message.name, message.version, message.state, message.reason)


def _spent(duration: pb.StatisticDuration) -> Spent:
    return Spent(duration.count, duration.ns / 1e9)
