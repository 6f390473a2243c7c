"""Records of traced requests, batches and operations as OpenTelemetry's spans."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from random import Random
from typing import Final, assert_never
from urllib.parse import unquote

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, TraceFlags, TraceState
from opentelemetry.trace.status import Status as SpanStatus
from opentelemetry.trace.status import StatusCode

from shoal_server.events import BatchRun
from shoal_server.telemetry.conventions import (
    ERROR_TYPE,
    PEER_ADDRESS,
    PEER_PORT,
    RPC_METHOD,
    RPC_STATUS_CODE,
    RPC_SYSTEM_NAME,
    is_error,
)
from shoal_server.telemetry.figures import MODEL, VERSION
from shoal_server.telemetry.request_trace import (
    BatchTrace,
    OperationTrace,
    Record,
    RequestTrace,
    members_of,
    new_span_id,
)
from shoal_server.transport.port import Status

_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)
_FINE: Final = SpanStatus(StatusCode.UNSET)
_NS: Final = 1_000_000_000

Attributes = Mapping[str, str | int | bool]


class SpanMaker:
    """Makes spans; on the thread that pushes them, so that they cost the loop nothing."""

    def __init__(self, resource: Resource, scope: InstrumentationScope, random: Random) -> None:
        self._resource = resource
        self._scope = scope
        self._random = random

    def spans(self, records: Iterable[Record]) -> list[ReadableSpan]:
        """Return the spans of records, each record's together."""
        return [span for record in records for span in self._of(record)]

    def _of(self, record: Record) -> Iterator[ReadableSpan]:
        match record:
            case RequestTrace():
                yield from self._request(record)
            case BatchTrace():
                yield self._batch(record)
            case OperationTrace():
                yield from self._operation(record)
            case _:
                assert_never(record)

    def _request(self, trace: RequestTrace) -> Iterator[ReadableSpan]:
        status = trace.status
        assert status is not None, "a record is given away when it has ended"
        own = _context_of(trace)
        attributes = {**trace.attributes}
        if not trace.inside:
            attributes |= {RPC_SYSTEM_NAME: "grpc", RPC_METHOD: trace.name, RPC_STATUS_CODE: status.name}
            attributes |= _peer(trace.peer)
        if is_error(status):
            attributes[ERROR_TYPE] = status.name
        links = []
        if trace.batch is not None:
            links.append(Link(_context(trace.batch.trace_id, trace.batch.span_id)))
        yield self._span(
            trace.name,
            own,
            _parent(trace),
            trace.started_ns,
            trace.ended_ns,
            attributes,
            kind=SpanKind.INTERNAL if trace.inside else SpanKind.SERVER,
            links=links,
            status=_status(status, trace.text),
        )
        if trace.batch is not None:
            yield from self._stages(trace, own, trace.batch)

    def _stages(self, trace: RequestTrace, parent: SpanContext, batch: BatchTrace) -> Iterator[ReadableSpan]:
        """Yield one span for the wait, and one for each stage of the run that had this member."""
        event = batch.event
        place = next(index for index, member in enumerate(event.members) if member is trace)
        arrived_ns = int(event.arrived_s[place] * _NS) + batch.monotonic_shift_ns
        dispatched_ns = int(event.dispatched_s * _NS) + batch.monotonic_shift_ns
        yield self._span("queue", self._child(parent), parent, arrived_ns, dispatched_ns, {})
        for run in event.runs:
            if any(member is trace for member in run.members):
                for name, began_ns, ended_ns in _stages(run, batch.perf_shift_ns):
                    yield self._span(name, self._child(parent), parent, began_ns, ended_ns, {})

    def _batch(self, batch: BatchTrace) -> ReadableSpan:
        event = batch.event
        shift_ns = batch.monotonic_shift_ns
        attributes: Attributes = {
            MODEL: event.model,
            VERSION: str(event.version),
            "shoal.batch.rows": event.rows,
            "shoal.batch.requests": event.requests,
            "shoal.batch.close_reason": event.reason,
            "shoal.batch.runs": len(event.runs),
            "shoal.batch.compute_infer_ns": sum(run.infer_ns for run in event.runs),
        }
        return self._span(
            f"batch {event.model}",
            _context(batch.trace_id, batch.span_id),
            None,
            int(event.dispatched_s * _NS) + shift_ns,
            int(event.ended_s * _NS) + shift_ns,
            attributes,
            links=[Link(_context_of(member)) for member in members_of(event)],
            status=SpanStatus(StatusCode.ERROR, "a bug") if event.broken else _FINE,
        )

    def _operation(self, operation: OperationTrace) -> Iterator[ReadableSpan]:
        event = operation.event
        began_ns = int(event.began_s * _NS) + operation.monotonic_shift_ns
        own = _context(operation.trace_id, new_span_id(self._random))
        attributes: dict[str, str | int | bool] = {
            MODEL: event.model,
            "shoal.operation.kind": event.operation,
            "shoal.operation.outcome": event.outcome,
        }
        if event.version:
            attributes[VERSION] = str(event.version)
        status = _FINE
        if event.problem:
            attributes[ERROR_TYPE] = event.outcome
            status = SpanStatus(StatusCode.ERROR, event.problem)
        ended_ns = began_ns + int(event.seconds * _NS)
        yield self._span(f"{event.operation} {event.model}", own, None, began_ns, ended_ns, attributes, status=status)
        for step in event.steps:
            step_ns = began_ns + int(step.began_s * _NS)
            about: Attributes = {VERSION: str(step.version)} if step.version else {}
            yield self._span(step.kind, self._child(own), own, step_ns, step_ns + int(step.seconds * _NS), about)

    def _child(self, parent: SpanContext) -> SpanContext:
        return _context(parent.trace_id, new_span_id(self._random))

    def _span(  # noqa: PLR0913, PLR0917 - the fields of a span
        self,
        name: str,
        context: SpanContext,
        parent: SpanContext | None,
        began_ns: int,
        ended_ns: int,
        attributes: Attributes,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        links: Sequence[Link] = (),
        status: SpanStatus = _FINE,
    ) -> ReadableSpan:
        return ReadableSpan(
            name,
            context,
            parent,
            self._resource,
            attributes,
            links=links,
            kind=kind,
            status=status,
            start_time=began_ns,
            end_time=max(ended_ns, began_ns),
            instrumentation_scope=self._scope,
        )


def _stages(run: BatchRun, shift_ns: int) -> Iterator[tuple[str, int, int]]:
    at_ns = run.began_ns + shift_ns
    for name, took_ns in (
        ("compute_input", run.input_ns),
        ("compute_infer", run.infer_ns),
        ("compute_output", run.output_ns),
    ):
        yield name, at_ns, at_ns + took_ns
        at_ns += took_ns


def _context(trace_id: int, span_id: int, state: str = "", *, remote: bool = False) -> SpanContext:
    return SpanContext(trace_id, span_id, remote, _SAMPLED, TraceState.from_header([state]) if state else None)


def _context_of(trace: RequestTrace) -> SpanContext:
    return _context(trace.trace_number, trace.number, trace.state)


def _parent(trace: RequestTrace) -> SpanContext | None:
    if not trace.parent_id:
        return None
    return _context(trace.trace_number, trace.parent_id, trace.state, remote=not trace.inside)


def _status(status: Status, text: str) -> SpanStatus:
    return SpanStatus(StatusCode.ERROR, text) if is_error(status) else _FINE


def _peer(address: str) -> Attributes:
    """Split what grpc says of a peer, such as ``ipv4:127.0.0.1:5000`` or ``ipv6:%5B::1%5D:5000``."""
    host, _colon, port = unquote(address).partition(":")[2].rpartition(":")
    if not port.isdecimal():
        return {}
    return {PEER_ADDRESS: host.strip("[]"), PEER_PORT: int(port)}
