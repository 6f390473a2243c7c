"""`shoal models`: what a server serves, what it does not, and why."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Final

import typer

from shoal.admin import admin_pb2
from shoal.inference import grpc_service_pb2 as pb
from shoal.inference import model_config_pb2
from shoal_server.cli.failure import MISUSED, Failure
from shoal_server.cli.models.admin import known_models
from shoal_server.cli.remote import Address, CallFailed, Remote, Timeout
from shoal_server.cli.table import print_table
from shoal_server.cli.tls_flags import UNSAID, TlsFlags, with_tls
from shoal_server.cli.units import local_time

_SERVICE: Final = "/inference.GRPCInferenceService"
_DIGEST_SHOWN: Final = 12  # as much of it as tells the files of one model apart


@dataclass(frozen=True, slots=True)
class _Version:
    """One version of one model; ``inferences`` are rows, and ``mean_batch`` is None until one batch has run.

    ``invariant`` is whether answers are bit for bit the same in any batch: yes, no, unknown, kept (by padding), or
    empty where the server does not say.
    ``cost`` is what a batch takes as the server has learned it, ``tuning`` how it runs them and why; both are empty
    where it tells nothing. ``padding`` is how much of what was computed was padding, 0 to 1, None where lengths do not
    vary, or nothing was computed yet. From ``current`` on, None means that the server offers us no admin service;
    ``kept_warm_until`` is Unix time in seconds, 0 where it is not kept, or for as long as wanted.
    """

    model: str
    version: str
    state: str
    reason: str
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    batched: bool | None = None
    invariant: str = ""
    inferences: int = 0
    batches: int = 0
    mean_batch: float | None = None
    cost: str = ""
    tuning: str = ""
    padding: float | None = None
    current: bool | None = None
    labels: tuple[str, ...] | None = None
    digest: str | None = None
    kept_warm_until: float | None = None
    operation: str | None = None


@with_tls
def command(  # noqa: PLR0913 - one for each flag
    ctx: typer.Context,
    *,
    address: Address = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for other programs.")] = False,
    cost: Annotated[
        bool,
        typer.Option(
            "--cost",
            help="Show what a batch takes, as the server has learned it (base + each row), and how the model is run, "
            "with the figures that led to it.",
        ),
    ] = False,
    timeout_s: Timeout = 5.0,
    tls: TlsFlags = UNSAID,
) -> int:
    """List the models of a server, or change what it serves.

    Without a command it lists every version, which one answers (CURRENT), and where the server offers its admin service
    to you also labels, digests, and until when a replaced version is kept for a rollback.

    Example:
        shoal models
        shoal models --cost
        shoal models --json | jq '.[] | select(.state != "READY")'
        shoal models swap digits 2
        shoal models swap --help
    """
    if ctx.invoked_subcommand is not None:
        _refuse_early_options(ctx)
        return 0
    with Remote(address, timeout_s, tls) as server:
        versions = _versions(server)
    managed = known_models(address, timeout_s, tls)
    if managed is not None:
        versions = [_with_management(version, managed) for version in versions]
    if as_json:
        typer.echo(json.dumps([asdict(version) for version in versions], indent=2, ensure_ascii=False))
    else:
        _print(versions, cost=cost)
    return 0


def _refuse_early_options(ctx: typer.Context) -> None:
    """An address before the command would not be the command's, which may change another server."""
    for parameter in ctx.params:
        source = ctx.get_parameter_source(parameter)
        if source is not None and source.name == "COMMANDLINE":
            raise Failure(f"write options behind the command: shoal models {ctx.invoked_subcommand} ...", MISUSED)


def _print(versions: Sequence[_Version], *, cost: bool) -> None:
    managed = any(version.current is not None for version in versions)
    columns: list[tuple[str, Callable[[_Version], str]]] = [
        ("MODEL", lambda version: version.model),
        ("VERSION", lambda version: version.version or "-"),
        ("STATE", lambda version: version.state),
        *(_MANAGED if managed else ()),
        ("BATCHED", lambda version: "-" if version.batched is None else "yes" if version.batched else "no"),
        ("INVARIANT", lambda version: version.invariant or "-"),
        ("INFERENCES", lambda version: str(version.inferences)),
        ("MEAN BATCH", lambda version: "-" if version.mean_batch is None else f"{version.mean_batch:.1f}"),
        *((("PADDING", _padding),) if any(version.padding is not None for version in versions) else ()),
        *(_COSTS if cost else ()),
        ("INPUTS", lambda version: ", ".join(version.inputs) or "-"),
        ("OUTPUTS", lambda version: ", ".join(version.outputs) or "-"),
        ("REASON", lambda version: version.reason or "-"),
    ]
    print_table([heading for heading, _ in columns], [[cell(version) for _, cell in columns] for version in versions])
    for model, operation in {version.model: version.operation for version in versions}.items():
        if operation:
            typer.echo(f"{model}: {operation} is under way")


_COSTS: Final[Sequence[tuple[str, Callable[[_Version], str]]]] = (
    ("COST", lambda version: version.cost or "-"),
    ("TUNING", lambda version: version.tuning or "-"),
)

_MANAGED: Final[Sequence[tuple[str, Callable[[_Version], str]]]] = (
    ("CURRENT", lambda version: "yes" if version.current else "-"),
    ("LABELS", lambda version: ", ".join(version.labels or ()) or "-"),
    ("DIGEST", lambda version: (version.digest or "")[:_DIGEST_SHOWN] or "-"),
    ("KEPT WARM UNTIL", lambda version: local_time(version.kept_warm_until) if version.kept_warm_until else "-"),
)


def _versions(server: Remote) -> list[_Version]:
    index = server.call(f"{_SERVICE}/RepositoryIndex", pb.RepositoryIndexRequest(), pb.RepositoryIndexResponse)
    statistics = server.call(f"{_SERVICE}/ModelStatistics", pb.ModelStatisticsRequest(), pb.ModelStatisticsResponse)
    counts = {(entry.name, entry.version): entry for entry in statistics.model_stats}
    return [_version(server, entry, counts.get((entry.name, entry.version))) for entry in index.models]


def _with_management(version: _Version, managed: Mapping[str, admin_pb2.Model]) -> _Version:
    """Return the version with what the admin service tells of it; the two were asked one after the other."""
    model = managed.get(version.model, admin_pb2.Model())
    number = int(version.version or 0)
    known = next((entry for entry in model.versions if entry.version == number), admin_pb2.Version())
    return replace(
        version,
        current=number == model.current_version != 0,
        labels=tuple(sorted(label for label, target in model.labels.items() if target == number != 0)),
        digest=known.digest,
        kept_warm_until=known.kept_warm_until,
        operation=model.operation,
    )


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
    return replace(
        known,
        inputs=_tensors(metadata.inputs),
        outputs=_tensors(metadata.outputs),
        batched=config.max_batch_size > 0,
        invariant=config.parameters["shoal.invariant"].string_value if "shoal.invariant" in config.parameters else "",
        inferences=counts.inference_count,
        batches=executions,
        mean_batch=counts.inference_count / executions if executions else None,
        cost=_cost(config.parameters),
        tuning=config.parameters["shoal.tuning"].string_value if "shoal.tuning" in config.parameters else "",
        padding=_padding_of(config.parameters),
    )


def _cost(parameters: Mapping[str, model_config_pb2.ModelParameter]) -> str:
    if "shoal.cost.base_us" not in parameters:
        return ""
    each = "cell" if "shoal.cost.cell_us" in parameters else "row"
    base, slope, deviation = (parameters[f"shoal.cost.{name}_us"].string_value for name in ("base", each, "deviation"))
    return f"{base} us + {slope} us a {each}, +-{deviation} us"


def _padding_of(parameters: Mapping[str, model_config_pb2.ModelParameter]) -> float | None:
    if "shoal.lengths.cells" not in parameters:
        return None
    cells, padded = (int(parameters[f"shoal.lengths.{name}cells"].string_value) for name in ("", "padded_"))
    return (padded - cells) / padded if padded else None


def _padding(version: _Version) -> str:
    return "-" if version.padding is None else f"{version.padding:.1%}"


def _tensors(tensors: Iterable[pb.ModelMetadataResponse.TensorMetadata]) -> tuple[str, ...]:
    return tuple(f"{tensor.name} {tensor.datatype}{list(tensor.shape)}" for tensor in tensors)
