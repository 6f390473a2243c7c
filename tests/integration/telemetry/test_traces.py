"""Exact spans of the scripted scenario: parents, stages, links and statuses; and those of calls that came together."""

import threading
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind
from opentelemetry.trace.status import StatusCode

from shoal_server.batching.burst import AtOnce, Burst
from shoal_server.batching.execution import Runner
from shoal_server.tensors.spec import KnownForm
from shoal_testing.caller import Caller
from shoal_testing.collected import NOWHERE, Collected
from shoal_testing.scripted import CALLERS_SPAN, CALLERS_TRACE, Told, pair
from shoal_testing.server import WAIT_S, RunningServer, running_server

INFER = "inference.GRPCInferenceService/ModelInfer"
STREAM = "inference.GRPCInferenceService/ModelStreamInfer"
TOGETHER = 8
ROUNDS = 60
STAGES = ["queue", "compute_input", "compute_infer", "compute_output"]


def attribute(span: ReadableSpan, key: str) -> object:
    return (span.attributes or {}).get(key)


def number(span: ReadableSpan) -> int:
    assert span.context is not None
    span_id: int = span.context.span_id
    return span_id


def linked(span: ReadableSpan) -> set[int]:
    return {link.context.span_id for link in span.links}


def children(told: Told, span: ReadableSpan) -> Sequence[ReadableSpan]:
    found = [one for one in told.collected.spans if one.parent is not None and one.parent.span_id == number(span)]
    return sorted(found, key=lambda one: (one.start_time or 0, one.end_time or 0))


def test_there_are_exactly_the_spans_of_the_script(told: Told) -> None:
    assert Counter((span.name, span.kind) for span in told.collected.spans) == {
        (INFER, SpanKind.SERVER): 16,  # 17 calls, of which one belongs to a trace that its caller does not keep
        ("inference.GRPCInferenceService/ServerLive", SpanKind.SERVER): 1,
        (STREAM, SpanKind.SERVER): 1,
        ("ModelStreamInfer request", SpanKind.INTERNAL): 3,
        ("batch pair", SpanKind.INTERNAL): 10,  # 11 batches, of which one has no member that is traced
        ("queue", SpanKind.INTERNAL): 12,
        ("compute_input", SpanKind.INTERNAL): 9,
        ("compute_infer", SpanKind.INTERNAL): 9,
        ("compute_output", SpanKind.INTERNAL): 9,
    }
    assert len({number(span) for span in told.collected.spans}) == len(told.collected.spans)


def test_statuses_are_on_the_spans_and_only_the_servers_failures_are_errors(told: Told) -> None:
    found = Counter(
        (attribute(span, "rpc.status_code"), span.status.status_code) for span in told.collected.named(INFER)
    )
    assert found == {
        ("OK", StatusCode.UNSET): 7,
        ("INVALID_ARGUMENT", StatusCode.UNSET): 3,
        ("NOT_FOUND", StatusCode.UNSET): 1,
        ("RESOURCE_EXHAUSTED", StatusCode.UNSET): 1,
        ("CANCELLED", StatusCode.UNSET): 1,
        ("DEADLINE_EXCEEDED", StatusCode.ERROR): 1,
        ("INTERNAL", StatusCode.ERROR): 2,
    }
    for span in told.collected.named(INFER):
        failed = span.status.status_code is StatusCode.ERROR
        assert attribute(span, "error.type") == (attribute(span, "rpc.status_code") if failed else None)
        assert attribute(span, "rpc.system.name") == "grpc"
        assert attribute(span, "rpc.method") == INFER
        assert attribute(span, "network.peer.address") == "127.0.0.1"
    texts = {span.status.description for span in told.collected.named(INFER) if span.status.description}
    assert texts >= {"it cannot", "internal error"}, "what a caller reads, and no more"


def test_a_request_says_what_was_asked_and_answered(told: Told) -> None:
    first = told.collected.named(INFER)[0]
    asked = {
        key: attribute(first, f"shoal.{key}") for key in ("model.name", "model.version", "request.rows", "request.id")
    }
    assert asked == {"model.name": "pair", "model.version": "1", "request.rows": 1, "request.id": "first"}


def test_a_callers_trace_goes_on_in_the_server(told: Told) -> None:
    within = [span for span in told.collected.named(INFER) if span.parent is not None]
    (span,) = within
    assert span.context is not None
    assert span.parent is not None
    assert (span.context.trace_id, span.parent.span_id, span.parent.is_remote) == (CALLERS_TRACE, CALLERS_SPAN, True)
    assert span.context.trace_state.get("vendor") == "1"
    assert attribute(span, "shoal.request.rows") == 3


def test_an_answered_request_has_its_stages_in_order_and_within_it(told: Told) -> None:
    for span in told.collected.named(INFER):
        if attribute(span, "rpc.status_code") != "OK":
            continue
        stages = children(told, span)
        assert [stage.name for stage in stages] == STAGES
        assert all(
            stage.context and span.context and stage.context.trace_id == span.context.trace_id for stage in stages
        )
        for before, after in pairwise(stages):
            assert (before.end_time or 0) <= (after.start_time or 0) + 1_000_000


def test_a_request_that_never_ran_has_no_stages(told: Told) -> None:
    for span in told.collected.named(INFER):
        if attribute(span, "rpc.status_code") in {"DEADLINE_EXCEEDED", "CANCELLED", "RESOURCE_EXHAUSTED", "NOT_FOUND"}:
            assert not children(told, span)
            assert not span.links


def test_a_batch_is_linked_with_its_members_and_each_member_with_its_batch(told: Told) -> None:
    members = {number(span): span for span in told.collected.spans if span.name in {INFER, "ModelStreamInfer request"}}
    batches = told.collected.named("batch pair")
    for batch in batches:
        assert batch.parent is None
        assert linked(batch) <= set(members)
        assert len(batch.links) == attribute(batch, "shoal.batch.requests")
        for member in linked(batch):
            assert linked(members[member]) == {number(batch)}
    dispatched = [span for span in members.values() if span.links]
    assert sum(len(batch.links) for batch in batches) == len(dispatched) == 12
    assert [len(batch.links) for batch in batches].count(3) == 1
    shared = next(batch for batch in batches if len(batch.links) == 3)
    assert (attribute(shared, "shoal.batch.rows"), attribute(shared, "shoal.batch.close_reason")) == (3, "slot_free")


def test_a_batch_that_met_a_bug_is_an_error_and_one_whose_model_refused_is_not(told: Told) -> None:
    broken = [batch for batch in told.collected.named("batch pair") if batch.status.status_code is StatusCode.ERROR]
    assert len(broken) == 1
    (member,) = linked(broken[0])
    span = next(span for span in told.collected.named(INFER) if number(span) == member)
    assert span.status.description == "internal error"


def test_what_a_caller_is_told_of_a_bug_leads_to_its_trace(told: Told) -> None:
    broken = next(span for span in told.collected.named(INFER) if span.status.description == "internal error")
    assert broken.context is not None
    assert told.trailers == {"shoal-trace-id": f"{broken.context.trace_id:032x}"}


def test_a_stream_has_a_span_for_each_of_its_requests(told: Told) -> None:
    (stream,) = told.collected.named(STREAM)
    requests = children(told, stream)
    assert [span.name for span in requests] == ["ModelStreamInfer request"] * 3
    assert [len(children(told, span)) for span in requests].count(len(STAGES)) == 2
    assert sum(not children(told, span) for span in requests) == 1, "one was refused"
    assert all(not span.status.description for span in requests), "the caller's mistake is no error"
    assert (stream.start_time or 0) <= min(span.start_time or 0 for span in requests)
    assert max(span.end_time or 0 for span in requests) <= (stream.end_time or 0)


def test_calls_that_are_answered_where_they_came_are_told_of_like_others(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collected = Collected()
    collected.install(monkeypatch)
    telemetry = {"otlp_endpoint": NOWHERE, "trace_ratio": 0.0, "push_metrics": False}
    rounds = answered = 0
    with running_server(folder, telemetry=telemetry) as running, Caller(running.address) as caller:
        if running.server.transport_name != "native":
            pytest.skip("only what the native transport carries comes in bursts")
        while not answered:
            assert rounds < ROUNDS, "no traced call was ever answered where it came"
            rounds += 1
            answered = _together(running, caller, sampled=frozenset({1, 2, 5}))
    traced = {number(span): span for span in collected.named(INFER)}
    assert Counter(attribute(span, "shoal.request.id") for span in traced.values()) == dict.fromkeys("125", rounds)
    for span in traced.values():
        assert span.parent is not None
        assert (attribute(span, "rpc.status_code"), attribute(span, "shoal.request.rows")) == ("OK", 1)
        assert (attribute(span, "shoal.model.name"), attribute(span, "shoal.model.version")) == ("pair", "1")
        stages = [one for one in collected.spans if one.parent is not None and one.parent.span_id == number(span)]
        assert [stage.name for stage in stages] == STAGES
        assert all(one.context and span.context and one.context.trace_id == span.context.trace_id for one in stages)
    batches = {number(span): span for span in collected.named("batch pair")}
    assert Counter(link for span in batches.values() for link in linked(span)) == dict.fromkeys(traced, 1)
    assert {link for span in traced.values() for link in linked(span)} == set(batches)


def _together(running: RunningServer, caller: Caller, sampled: frozenset[int]) -> int:
    """Make calls that the server takes at once; return how many that are traced were answered where they came."""
    found = 0
    answering = AtOnce.run

    def counted(at_once: AtOnce, runner: Runner, burst: Burst, form: KnownForm) -> int:
        nonlocal found
        answered = answering(at_once, runner, burst, form)
        found += len(burst.traced(0, answered))
        return answered

    held, may_go_on = threading.Event(), threading.Event()

    def hold() -> None:
        held.set()
        may_go_on.wait(WAIT_S)

    running.loop.call_soon_threadsafe(hold)
    assert held.wait(WAIT_S)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AtOnce, "run", counted)
        calls = [
            caller.begin(
                pair(1, request_id=str(one)).SerializeToString(),
                metadata=[("traceparent", f"00-{one + 1:032x}-{1:016x}-0{int(one in sampled)}")],
            )
            for one in range(TOGETHER)
        ]
        transport: Any = running.server._listeners._transports[0]  # noqa: SLF001
        ends_s = monotonic() + WAIT_S
        while transport.inside()[1] < TOGETHER and monotonic() < ends_s:
            may_go_on.wait(0.001)
        may_go_on.set()
        assert [call.outcome().status for call in calls] == ["OK"] * TOGETHER
    return found
