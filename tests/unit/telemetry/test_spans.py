"""Records as spans, for what the scripted scenario does not have."""

from collections.abc import Sequence
from random import Random

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace.status import StatusCode

from shoal_server.events import BatchEnded, BatchRun, OperationEnded, StepTaken
from shoal_server.telemetry.request_trace import BatchTrace, OperationTrace, Record, RequestTrace
from shoal_server.telemetry.spans import SpanMaker
from shoal_server.transport.port import Status
from shoal_testing.collected import read_spans

MAKER = SpanMaker(Resource({}), InstrumentationScope("test"), Random(0))
SHIFT_NS = 1_000_000_000_000


def spans_of(*records: Record) -> Sequence[ReadableSpan]:
    return read_spans(MAKER.made(records))


def test_a_swap_is_a_trace_with_a_span_for_each_of_its_steps() -> None:
    steps = (StepTaken("load", 2, 0.0, 2.0), StepTaken("drain", 1, 2.5, 0.5))
    swap = OperationEnded("swap", "m", 2, "changed", "", 10.0, 3.0, steps)
    whole, *parts = spans_of(OperationTrace(swap, 7, SHIFT_NS))
    assert (whole.name, whole.parent, whole.status.status_code) == ("swap m", None, StatusCode.UNSET)
    assert (whole.start_time, whole.end_time) == (SHIFT_NS + 10_000_000_000, SHIFT_NS + 13_000_000_000)
    assert whole.attributes == {
        "shoal.model.name": "m",
        "shoal.model.version": "2",
        "shoal.operation.kind": "swap",
        "shoal.operation.outcome": "changed",
    }
    assert [(part.name, part.start_time, part.end_time) for part in parts] == [
        ("load", SHIFT_NS + 10_000_000_000, SHIFT_NS + 12_000_000_000),
        ("drain", SHIFT_NS + 12_500_000_000, SHIFT_NS + 13_000_000_000),
    ]
    assert whole.context is not None
    assert {part.parent.span_id for part in parts if part.parent} == {whole.context.span_id}


def test_an_operation_that_failed_is_an_error_and_says_why() -> None:
    failed = OperationEnded("load", "m", 0, "failed", "no such file", 1.0, 0.1, ())
    (span,) = spans_of(OperationTrace(failed, 7, SHIFT_NS))
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "no such file")
    assert span.attributes is not None
    assert span.attributes["error.type"] == "failed"


def test_peers_of_either_family_are_split_into_address_and_port() -> None:
    found = []
    for peer in ("ipv4:10.0.0.1:5000", "ipv6:%5B::1%5D:5001", "unix:/tmp/socket", ""):
        trace = RequestTrace("m", 1, 0, random=Random(0), done=lambda _trace: None, peer=peer)
        trace.end(Status.OK, "")
        (span,) = spans_of(trace)
        attributes = span.attributes or {}
        found.append((attributes.get("network.peer.address"), attributes.get("network.peer.port")))
    assert found == [("10.0.0.1", 5000), ("::1", 5001), (None, None), (None, None)]


def test_requests_are_what_the_library_would_make_of_the_same_spans() -> None:
    done: list[Record] = []
    failed = RequestTrace("m", 1 << 127, 9, random=Random(1), done=done.append, peer="ipv4:10.0.0.1:1", state="a=1,b=2")
    failed.note({"shoal.request.rows": 3})
    inner = failed.inner("within")
    for trace in (failed, inner):
        trace.dispatched = True
        trace.end(Status.INTERNAL, "a bug")
    members = (failed, inner)
    ended = BatchEnded(
        "m", 1, 5, 9, "full", 2.0, 2.5, broken=True, members=members, arrived_s=(1.0, 1.5), runs=(
            BatchRun(9, 2_000_000_000, 10, 20, 30, members[:1]), BatchRun(9, 2_100_000_000, 10, 20, 30, members[1:]),
        )
    )  # fmt: skip
    batch = BatchTrace(ended, 77, 78, SHIFT_NS, SHIFT_NS)
    for trace in members:
        trace.batched(batch)
    operation = OperationEnded("load", "m", 2, "failed", "no such file", 1.0, 0.1, (StepTaken("load", 2, 0.0, 2.0),))
    resource = Resource({"service.name": "fish", "count": 3}, "https://resource")
    scope = InstrumentationScope("shoal", "1", "https://scope")
    made = SpanMaker(resource, scope, Random(0)).made([*done, batch, OperationTrace(operation, 7, SHIFT_NS)])
    assert len(made) == 2 * 5 + 1 + 2
    wanted = encode_spans(
        [
            ReadableSpan(
                one.name,
                one.context,
                one.parent,
                resource,
                one.attributes,
                links=one.links,
                kind=one.kind,
                status=one.status,
                start_time=one.start_time,
                end_time=one.end_time,
                instrumentation_scope=scope,
            )
            for one in read_spans(made)
        ]
    )
    for span in wanted.resource_spans[0].scope_spans[0].spans:
        if not span.status.code:
            span.ClearField("status")  # which says no more than one that is not there
    assert made.request == wanted
