"""Records of traced requests, batches and operations as OTLP's messages: spans, ready to be sent.

They are written into the messages at once. OpenTelemetry's own span objects, and the encoding of those, took 45 and 220
us of the interpreter for a request and its batch, where this takes 20; and whoever spends that on a thread keeps the
loop waiting for it.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from random import Random
from typing import Final, assert_never
from urllib.parse import unquote

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, SpanFlags
from opentelemetry.proto.trace.v1.trace_pb2 import Status as SpanStatus
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import INVALID_SPAN_CONTEXT, TraceState

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
from shoal_server.telemetry.made_spans import MadeSpans
from shoal_server.telemetry.request_trace import (
    BatchTrace,
    OperationTrace,
    Record,
    RequestTrace,
    members_of,
    new_span_id,
)

_NS: Final = 1_000_000_000
_HERE: Final = SpanFlags.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK
"""The flags of a span whose parent, where it has one, is of this process."""
_REMOTE: Final = _HERE | SpanFlags.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK
_MOST_KNOWN: Final = 1024
_AT_A_TIME: Final = 32
"""Records; 0.4 ms. Then whoever waits for the interpreter has it: without asking for it he would wait for 5 ms."""
_PAUSE_S: Final = 0.0001

Attributes = dict[str, str | int]


class SpanMaker:
    """Makes requests to a collector; on the thread that sends them, so that they cost the loop little."""

    def __init__(self, resource: Resource, scope: InstrumentationScope, random: Random) -> None:
        self._random = random
        # The library's own encoding of whose spans they are, with the span taken out again.
        one = ReadableSpan("", INVALID_SPAN_CONTEXT, resource=resource, instrumentation_scope=scope)
        empty = encode_spans([one])
        empty.resource_spans[0].scope_spans[0].ClearField("spans")
        self._empty = empty.SerializeToString()

    def made(self, records: Iterable[Record]) -> MadeSpans:
        """Return the spans of records, each record's together."""
        request = ExportTraceServiceRequest.FromString(self._empty)
        spans = request.resource_spans[0].scope_spans[0].spans
        for number, record in enumerate(records, 1):
            if not number % _AT_A_TIME:
                time.sleep(_PAUSE_S)
            match record:
                case RequestTrace():
                    self._request(spans.add, record)
                case BatchTrace():
                    self._batch(spans.add, record)
                case OperationTrace():
                    self._operation(spans.add, record)
                case _:
                    assert_never(record)
        return MadeSpans(request)

    def _request(self, add: Callable[[], Span], trace: RequestTrace) -> None:
        status = trace.status
        assert status is not None, "a record is given away when it has ended"
        trace_id, span_id = _trace_id(trace.trace_number), _span_id(trace.number)
        attributes: Attributes = {**trace.attributes}
        if not trace.inside:
            attributes[RPC_SYSTEM_NAME] = "grpc"
            attributes[RPC_METHOD] = trace.name
            attributes[RPC_STATUS_CODE] = status.name
            attributes |= _peer(trace.peer)
        failed = is_error(status)
        if failed:
            attributes[ERROR_TYPE] = status.name
        span = add()
        span.trace_id = trace_id
        span.span_id = span_id
        span.name = trace.name
        span.kind = Span.SPAN_KIND_INTERNAL if trace.inside else Span.SPAN_KIND_SERVER
        span.flags = _HERE
        _last(span, trace.started_ns, trace.ended_ns)
        _describe(span, attributes)
        if trace.parent_id:
            span.parent_span_id = _span_id(trace.parent_id)
            span.flags = _HERE if trace.inside else _REMOTE
        if trace.state:
            span.trace_state = ",".join(
                f"{key}={value}" for key, value in TraceState.from_header([trace.state]).items()
            )
        if failed:
            _fail(span, trace.text)
        batch = trace.batch
        if batch is not None:
            _link(span, batch.trace_id, batch.span_id)
            self._stages(add, trace, (trace_id, span_id), batch)

    def _stages(
        self, add: Callable[[], Span], trace: RequestTrace, within: tuple[bytes, bytes], batch: BatchTrace
    ) -> None:
        """Add one span for the wait, and one for each stage of the run that had this member."""
        event = batch.event
        place = next(index for index, member in enumerate(event.members) if member is trace)
        arrived_ns = int(event.arrived_s[place] * _NS) + batch.monotonic_shift_ns
        dispatched_ns = int(event.dispatched_s * _NS) + batch.monotonic_shift_ns
        self._inner(add(), "queue", within, arrived_ns, dispatched_ns)
        for run in event.runs:
            if any(member is trace for member in run.members):
                at_ns = run.began_ns + batch.perf_shift_ns
                for name, took_ns in _stages(run):
                    self._inner(add(), name, within, at_ns, at_ns + took_ns)
                    at_ns += took_ns

    def _batch(self, add: Callable[[], Span], batch: BatchTrace) -> None:
        event = batch.event
        shift_ns = batch.monotonic_shift_ns
        attributes: Attributes = {
            MODEL: event.model,
            VERSION: str(event.version),
            "shoal.batch.rows": event.rows,
            "shoal.batch.requests": event.requests,
            "shoal.batch.close_reason": event.reason,
            "shoal.batch.runs": len(event.runs),
        }
        span = _own(add(), f"batch {event.model}", batch.trace_id, batch.span_id)
        _last(span, int(event.dispatched_s * _NS) + shift_ns, int(event.ended_s * _NS) + shift_ns)
        _describe(span, attributes)
        infer = span.attributes.add()  # different each time
        infer.key = "shoal.batch.compute_infer_ns"
        infer.value.int_value = sum([run.infer_ns for run in event.runs])
        for member in members_of(event):
            _link(span, member.trace_number, member.number)
        if event.broken:
            _fail(span, "a bug")

    def _operation(self, add: Callable[[], Span], operation: OperationTrace) -> None:
        event = operation.event
        began_ns = int(event.began_s * _NS) + operation.monotonic_shift_ns
        attributes: Attributes = {
            MODEL: event.model,
            "shoal.operation.kind": event.operation,
            "shoal.operation.outcome": event.outcome,
        }
        if event.version:
            attributes[VERSION] = str(event.version)
        if event.problem:
            attributes[ERROR_TYPE] = event.outcome
        whole = _own(add(), f"{event.operation} {event.model}", operation.trace_id, new_span_id(self._random))
        _last(whole, began_ns, began_ns + int(event.seconds * _NS))
        _describe(whole, attributes)
        if event.problem:
            _fail(whole, event.problem)
        for step in event.steps:
            step_ns = began_ns + int(step.began_s * _NS)
            span = add()
            self._inner(span, step.kind, (whole.trace_id, whole.span_id), step_ns, step_ns + int(step.seconds * _NS))
            if step.version:
                _describe(span, {VERSION: str(step.version)})

    def _inner(self, span: Span, name: str, within: tuple[bytes, bytes], began_ns: int, ended_ns: int) -> None:
        """Make it one within another, whose trace and own id are given."""
        span.trace_id, span.parent_span_id = within
        span.span_id = _span_id(new_span_id(self._random))
        span.name = name
        span.kind = Span.SPAN_KIND_INTERNAL
        span.flags = _HERE
        _last(span, began_ns, ended_ns)


def _own(span: Span, name: str, trace_number: int, number: int) -> Span:
    """Make it the first of its trace."""
    span.trace_id = _trace_id(trace_number)
    span.span_id = _span_id(number)
    span.name = name
    span.kind = Span.SPAN_KIND_INTERNAL
    span.flags = _HERE
    return span


def _last(span: Span, began_ns: int, ended_ns: int) -> None:
    span.start_time_unix_nano = began_ns
    span.end_time_unix_nano = max(began_ns, ended_ns)


def _describe(span: Span, attributes: Attributes) -> None:
    span.MergeFromString(_described(tuple(attributes.items())))


@lru_cache(_MOST_KNOWN)
def _described(attributes: tuple[tuple[str, str | int], ...]) -> bytes:
    """Return a span of these attributes, serialised: most are of what others had before, and this takes 1 us each."""
    span = Span()
    for key, value in attributes:
        attribute = span.attributes.add()
        attribute.key = key
        if isinstance(value, str):
            attribute.value.string_value = value
        else:
            attribute.value.int_value = value
    return span.SerializeToString()


def _fail(span: Span, why: str) -> None:
    span.status.code = SpanStatus.STATUS_CODE_ERROR
    span.status.message = why


def _link(span: Span, trace_number: int, number: int) -> None:
    span.links.add(trace_id=_trace_id(trace_number), span_id=_span_id(number), flags=_HERE)


def _stages(run: BatchRun) -> Iterator[tuple[str, int]]:
    """Yield the stages, each with what it took."""
    yield "compute_input", run.input_ns
    yield "compute_infer", run.infer_ns
    yield "compute_output", run.output_ns


def _trace_id(number: int) -> bytes:
    return number.to_bytes(16, "big")


def _span_id(number: int) -> bytes:
    return number.to_bytes(8, "big")


@lru_cache(_MOST_KNOWN)
def _peer(address: str) -> Attributes:
    """Split what grpc says of a peer, such as ``ipv4:127.0.0.1:5000`` or ``ipv6:%5B::1%5D:5000``."""
    host, _colon, port = unquote(address).partition(":")[2].rpartition(":")
    if not port.isdecimal():
        return {}
    return {PEER_ADDRESS: host.strip("[]"), PEER_PORT: int(port)}
