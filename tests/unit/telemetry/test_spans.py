"""Records as spans, for what the scripted scenario does not have."""

from random import Random

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace.status import StatusCode

from shoal_server.events import OperationEnded, StepTaken
from shoal_server.telemetry.request_trace import OperationTrace, RequestTrace
from shoal_server.telemetry.spans import SpanMaker
from shoal_server.transport.port import Status

MAKER = SpanMaker(Resource({}), InstrumentationScope("test"), Random(0))
SHIFT_NS = 1_000_000_000_000


def test_a_swap_is_a_trace_with_a_span_for_each_of_its_steps() -> None:
    steps = (StepTaken("load", 2, 0.0, 2.0), StepTaken("drain", 1, 2.5, 0.5))
    swap = OperationEnded("swap", "m", 2, "changed", "", 10.0, 3.0, steps)
    whole, *parts = MAKER.spans([OperationTrace(swap, 7, SHIFT_NS)])
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
    (span,) = MAKER.spans([OperationTrace(failed, 7, SHIFT_NS)])
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "no such file")
    assert span.attributes is not None
    assert span.attributes["error.type"] == "failed"


def test_peers_of_either_family_are_split_into_address_and_port() -> None:
    found = []
    for peer in ("ipv4:10.0.0.1:5000", "ipv6:%5B::1%5D:5001", "unix:/tmp/socket", ""):
        trace = RequestTrace("m", 1, 0, random=Random(0), done=lambda _trace: None, peer=peer)
        trace.end(Status.OK, "")
        (span,) = MAKER.spans([trace])
        attributes = span.attributes or {}
        found.append((attributes.get("network.peer.address"), attributes.get("network.peer.port")))
    assert found == [("10.0.0.1", 5000), ("::1", 5001), (None, None), (None, None)]
