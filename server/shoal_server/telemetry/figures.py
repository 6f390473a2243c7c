"""A snapshot as named figures: what every exporter tells, in the terms of OpenTelemetry's metrics.

Names follow OpenTelemetry's semantic conventions, version 1.45, where these have one (RPC and process metrics), and
units are UCUM. Attributes come from closed sets: routed methods, statuses, versions of the catalog, and enums.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple

from shoal_server.batching.ledger import VersionMeasured
from shoal_server.histogram import Buckets
from shoal_server.lifecycle.states import VersionState
from shoal_server.telemetry.conventions import ERROR_TYPE, RPC_METHOD, RPC_STATUS_CODE, RPC_SYSTEM_NAME, is_error
from shoal_server.telemetry.losses import LossesMeasured
from shoal_server.telemetry.process import ProcessUsage
from shoal_server.telemetry.snapshot import Snapshot

MODEL: Final = "shoal.model.name"
VERSION: Final = "shoal.model.version"

Attributes = tuple[tuple[str, str], ...]


class Kind(Enum):
    """How values over time belong together."""

    COUNTER = "counter"  # only ever rises
    LEVEL = "level"  # rises and falls, and may be summed over servers
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Point(NamedTuple):
    """One value; what was counted, was counted since ``since_epoch_s``."""

    attributes: Attributes
    value: float | Buckets
    since_epoch_s: float


@dataclass(frozen=True, slots=True)
class Figure:
    """A metric and its points. ``attributes`` are the keys that its points may have."""

    name: str
    kind: Kind
    unit: str
    about: str
    attributes: tuple[str, ...]
    points: Sequence[Point]


def figures(snapshot: Snapshot, usage: ProcessUsage, losses: LossesMeasured) -> Iterator[Figure]:
    """Yield all figures; one without points stays out."""
    for figure in (
        *_rpc(snapshot),
        *_door(snapshot),
        *_models(snapshot),
        *_versions(snapshot),
        *_operations(snapshot),
        *_itself(snapshot, usage, losses),
    ):
        if figure.points:
            yield figure


def _rpc(snapshot: Snapshot) -> Iterator[Figure]:
    since = snapshot.since_epoch_s
    durations = []
    transferred: dict[Attributes, int] = {}
    for one in snapshot.methods:
        attributes = [(RPC_SYSTEM_NAME, "grpc"), (RPC_METHOD, one.method), (RPC_STATUS_CODE, one.status.name)]
        if is_error(one.status):
            attributes.append((ERROR_TYPE, one.status.name))
        durations.append(Point(tuple(attributes), one.durations, since))
        for direction, size_bytes in (("receive", one.request_bytes), ("transmit", one.response_bytes)):
            key = ((RPC_METHOD, one.method), ("network.io.direction", direction))
            transferred[key] = transferred.get(key, 0) + size_bytes
    yield Figure(
        "rpc.server.call.duration",
        Kind.HISTOGRAM,
        "s",
        "From the arrival of a call to its end, however it ended.",
        (RPC_SYSTEM_NAME, RPC_METHOD, RPC_STATUS_CODE, ERROR_TYPE),
        durations,
    )
    yield Figure(
        "shoal.rpc.messages.size",
        Kind.COUNTER,
        "By",
        "Bytes of the messages of calls that have ended.",
        (RPC_METHOD, "network.io.direction"),
        [Point(key, size_bytes, since) for key, size_bytes in transferred.items()],
    )


def _door(snapshot: Snapshot) -> Iterator[Figure]:
    since, inside = snapshot.since_epoch_s, snapshot.inside
    for name, unit, about, value in (
        ("requests", "{request}", "Requests inside the server.", inside.requests),
        ("rows", "{row}", "Rows of the requests inside the server.", inside.rows),
        ("size", "By", "Bytes of the requests inside the server.", inside.size_bytes),
    ):
        yield Figure(f"shoal.active.{name}", Kind.LEVEL, unit, about, (), [Point((), value, since)])
    reasons = {bound.value: count for bound, count in snapshot.refusals.items()}
    reasons["draining"] = snapshot.refused_draining
    reasons["unread"] = snapshot.refused_unread
    yield Figure(
        "shoal.refusals",
        Kind.COUNTER,
        "{request}",
        "Requests refused at the door: a bound of the server is reached, or it is draining or behind.",
        ("shoal.refusal.reason",),
        [Point((("shoal.refusal.reason", reason),), count, since) for reason, count in reasons.items()],
    )


def _models(snapshot: Snapshot) -> Iterator[Figure]:
    """What was counted per version; a figure has one point for each version and each further attribute's value."""

    def figure(  # noqa: PLR0913, PLR0917 - the columns of the table below
        name: str,
        kind: Kind,
        unit: str,
        about: str,
        attribute: str,
        values: Callable[[VersionMeasured], Mapping[str, float | Buckets]],
    ) -> Figure:
        points = []
        for one in snapshot.measured:
            own: Attributes = ((MODEL, one.model), (VERSION, str(one.version)))
            for value_of, value in values(one).items():
                attributes = (*own, (attribute, value_of)) if attribute else own
                points.append(Point(attributes, value, one.since_epoch_s))
        keys = (MODEL, VERSION, attribute) if attribute else (MODEL, VERSION)
        return Figure(f"shoal.model.{name}", kind, unit, about, keys, points)

    yield figure(
        "requests",
        Kind.COUNTER,
        "{request}",
        "Requests that named a version which serves, by what became of them.",
        "shoal.outcome",
        lambda one: {outcome.value: count for outcome, count in one.measured.outcomes.items()},
    )
    yield figure(
        "queue.refusals",
        Kind.COUNTER,
        "{request}",
        "Requests refused because a bound of the version's own line is reached.",
        "shoal.refusal.reason",
        lambda one: {bound.value: count for bound, count in one.measured.queue_refusals.items()},
    )
    yield figure(
        "lookups",
        Kind.COUNTER,
        "{request}",
        "Requests whose content was looked at, by whether an earlier answer or an execution under way was theirs.",
        "shoal.lookup.result",
        lambda one: {result: count for result, count in one.measured.lookups.items() if count},
    )
    yield figure(
        "request.duration",
        Kind.HISTOGRAM,
        "s",
        "From admission to the end of the batch, of requests that were answered with results.",
        "",
        lambda one: {"": one.measured.request_s},
    )
    yield figure(
        "queue.duration",
        Kind.HISTOGRAM,
        "s",
        "Waiting for a batch, of requests that were answered with results.",
        "",
        lambda one: {"": one.measured.queue_s},
    )
    yield figure(
        "batch.rows", Kind.HISTOGRAM, "{row}", "Rows of a batch.", "", lambda one: {"": one.measured.batch_rows}
    )
    yield figure(
        "batch.cells",
        Kind.COUNTER,
        "{cell}",
        "Rows times lengths of what was computed, where lengths vary: what was sent, and what filled it up.",
        "shoal.batch.cells",
        _cells,
    )
    yield figure(
        "batch.stage.duration",
        Kind.HISTOGRAM,
        "s",
        "Assembling inputs, computing, and splitting and encoding outputs, per call of the model.",
        "shoal.batch.stage",
        lambda one: {
            "compute_input": one.measured.input_s,
            "compute_infer": one.measured.infer_s,
            "compute_output": one.measured.output_s,
        },
    )
    yield figure(
        "batches",
        Kind.COUNTER,
        "{batch}",
        "Batches, by why they took no more.",
        "shoal.batch.close_reason",
        lambda one: {reason.value: count for reason, count in one.measured.close_reasons.items()},
    )


def _cells(one: VersionMeasured) -> Mapping[str, float | Buckets]:
    measured = one.measured
    if not measured.padded_cells:
        return {}
    return {"sent": measured.cells, "padding": measured.padded_cells - measured.cells}


def _versions(snapshot: Snapshot) -> Iterator[Figure]:
    since = snapshot.since_epoch_s
    states, waiting, running = [], [], []
    for one in snapshot.versions:
        own: Attributes = ((MODEL, one.model), (VERSION, str(one.version)))
        states.append(Point((*own, ("shoal.model.version.state", one.state.value)), 1, since))
        if one.state in (VersionState.READY, VersionState.DRAINING):
            waiting.append(Point(own, one.waiting, since))
            running.append(Point(own, one.running, since))
    yield Figure(
        "shoal.model.version.state",
        Kind.GAUGE,
        "1",
        "1 for the state in which a version is.",
        (MODEL, VERSION, "shoal.model.version.state"),
        states,
    )
    yield Figure(
        "shoal.model.queue.requests", Kind.LEVEL, "{request}", "Requests that wait.", (MODEL, VERSION), waiting
    )
    yield Figure("shoal.model.active.batches", Kind.LEVEL, "{batch}", "Batches that run.", (MODEL, VERSION), running)
    yield Figure(
        "shoal.model.version.moves",
        Kind.COUNTER,
        "{move}",
        "Versions that came to a state.",
        ("shoal.model.version.state",),
        [Point((("shoal.model.version.state", state),), n, since) for state, n in snapshot.operations.moves.items()],
    )


def _operations(snapshot: Snapshot) -> Iterator[Figure]:
    for name, about, second, measured in (
        ("duration", "Swaps and other changes by operators.", "outcome", snapshot.operations.operations),
        ("step.duration", "The phases of swaps and other changes.", "step", snapshot.operations.steps),
    ):
        keys = ("shoal.operation.kind", f"shoal.operation.{second}")
        yield Figure(
            f"shoal.operation.{name}",
            Kind.HISTOGRAM,
            "s",
            about,
            keys,
            [
                Point(tuple(zip(keys, values, strict=True)), buckets, snapshot.since_epoch_s)
                for values, buckets in measured.items()
            ],
        )


def _itself(snapshot: Snapshot, usage: ProcessUsage, losses: LossesMeasured) -> Iterator[Figure]:
    since = snapshot.since_epoch_s
    yield Figure(
        "shoal.event_loop.lag",
        Kind.GAUGE,
        "s",
        "How long the event loop let the request for these figures wait.",
        (),
        [Point((), snapshot.lag_s, since)],
    )
    yield Figure(
        "process.memory.usage",
        Kind.LEVEL,
        "By",
        "Resident memory.",
        (),
        [Point((), usage.resident_bytes, since)] if usage.resident_bytes else [],
    )
    yield Figure(
        "process.cpu.time",
        Kind.COUNTER,
        "s",
        "CPU time used.",
        ("cpu.mode",),
        [Point((("cpu.mode", mode),), used_s, since) for mode, used_s in usage.cpu_s.items()],
    )
    keys = ("shoal.telemetry.signal", "shoal.telemetry.reason")
    yield Figure(
        "shoal.telemetry.losses",
        Kind.COUNTER,
        "{item}",
        "Traced calls, batches and readings of metrics that no back end got.",
        keys,
        [Point(tuple(zip(keys, values, strict=True)), count, since) for values, count in losses.items()],
    )
