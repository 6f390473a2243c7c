"""`shoal models`: what a server serves, what it does not, and why."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Annotated

import typer

from shoal.inference import grpc_service_pb2 as pb
from shoal_server.cli.remote import Address, CallFailed, Remote, Timeout
from shoal_server.cli.table import print_table
from shoal_server.cli.tls_flags import UNSAID, TlsFlags, with_tls

_SERVICE = "/inference.GRPCInferenceService"


@dataclass(frozen=True, slots=True)
class _Version:
    """One version of one model; ``inferences`` are rows, and ``mean_batch`` is None until one batch has run."""

    model: str
    version: str
    state: str
    reason: str
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    batched: bool | None = None
    inferences: int = 0
    batches: int = 0
    mean_batch: float | None = None


@with_tls
def command(
    *,
    address: Address = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for other programs.")] = False,
    timeout_s: Timeout = 5.0,
    tls: TlsFlags = UNSAID,
) -> int:
    """List the models of a server, their state and batches.

    Example:
        shoal models
        shoal models --json | jq '.[] | select(.state != "READY")'
    """
    with Remote(address, timeout_s, tls) as server:
        versions = _versions(server)
    if as_json:
        typer.echo(json.dumps([asdict(version) for version in versions], indent=2, ensure_ascii=False))
        return 0
    print_table(
        ("MODEL", "VERSION", "STATE", "BATCHED", "INFERENCES", "MEAN BATCH", "INPUTS", "OUTPUTS", "REASON"),
        [
            (
                version.model,
                version.version or "-",
                version.state,
                "-" if version.batched is None else "yes" if version.batched else "no",
                str(version.inferences),
                "-" if version.mean_batch is None else f"{version.mean_batch:.1f}",
                ", ".join(version.inputs) or "-",
                ", ".join(version.outputs) or "-",
                version.reason or "-",
            )
            for version in versions
        ],
    )
    return 0


def _versions(server: Remote) -> list[_Version]:
    index = server.call(f"{_SERVICE}/RepositoryIndex", pb.RepositoryIndexRequest(), pb.RepositoryIndexResponse)
    statistics = server.call(f"{_SERVICE}/ModelStatistics", pb.ModelStatisticsRequest(), pb.ModelStatisticsResponse)
    counts = {(entry.name, entry.version): entry for entry in statistics.model_stats}
    return [_version(server, entry, counts.get((entry.name, entry.version))) for entry in index.models]


def _version(
    server: Remote, entry: pb.RepositoryIndexResponse.ModelIndex, counts: pb.ModelStatistics | None
) -> _Version:
    known = _Version(entry.name, entry.version, entry.state, entry.reason)
    if entry.state != "READY" or counts is None:
        return known
    try:
        metadata = server.call(
            f"{_SERVICE}/ModelMetadata",
            pb.ModelMetadataRequest(name=entry.name, version=entry.version),
            pb.ModelMetadataResponse,
        )
        config = server.call(
            f"{_SERVICE}/ModelConfig",
            pb.ModelConfigRequest(name=entry.name, version=entry.version),
            pb.ModelConfigResponse,
        ).config
    except CallFailed:
        return known  # it was withdrawn since the index was made
    executions = counts.execution_count
    return _Version(
        entry.name,
        entry.version,
        entry.state,
        entry.reason,
        inputs=_tensors(metadata.inputs),
        outputs=_tensors(metadata.outputs),
        batched=config.max_batch_size > 0,
        inferences=counts.inference_count,
        batches=executions,
        mean_batch=counts.inference_count / executions if executions else None,
    )


def _tensors(tensors: Iterable[pb.ModelMetadataResponse.TensorMetadata]) -> tuple[str, ...]:
    return tuple(f"{tensor.name} {tensor.datatype}{list(tensor.shape)}" for tensor in tensors)
