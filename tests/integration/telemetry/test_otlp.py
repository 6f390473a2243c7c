"""Metrics and traces as a collector receives them, over gRPC and over HTTP."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from shoal_testing.caller import Caller
from shoal_testing.otlp_receiver import Receiver, grpc_receiver, http_receiver
from shoal_testing.scripted import pair
from shoal_testing.server import running_server

PROTOCOLS = pytest.mark.parametrize(
    ("protocol", "receiving"), [("grpc", grpc_receiver), ("http/protobuf", http_receiver)]
)
Receiving = Callable[[], AbstractContextManager[Receiver]]


@PROTOCOLS
def test_a_collector_gets_metrics_and_traces_whose_batches_are_linked(
    folder: Path, protocol: str, receiving: Receiving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "fish")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=mine")
    with receiving() as receiver:
        telemetry = {"otlp_endpoint": receiver.endpoint, "otlp_protocol": protocol, "trace_ratio": 1.0}
        with running_server(folder, telemetry=telemetry) as running, Caller(running.address) as caller:
            for _ in range(3):
                assert caller.infer(pair(1, 2)).status == "OK"
        receiver.wait_for(metrics=1, traces=1)
        assert receiver.resource["service.name"] == "fish"
        assert receiver.resource["deployment.environment.name"] == "test"
        assert all(headers["x-tenant"] == "mine" for headers in receiver.headers)
        calls = receiver.metrics["rpc.server.call.duration"]
        assert (calls.unit, [point.count for point in calls.histogram.data_points]) == ("s", [3])
        assert list(calls.histogram.data_points[0].explicit_bounds)[-1] == 10
        servers = {span.span_id: span for span in receiver.spans if span.kind == span.SPAN_KIND_SERVER}
        batches = [span for span in receiver.spans if span.name == "batch pair"]
        assert len(servers) == len(batches) == 3
        for batch in batches:
            (link,) = batch.links
            member = servers[link.span_id]
            assert member.trace_id == link.trace_id
            assert member.links[0].span_id == batch.span_id


def test_metrics_are_pushed_at_the_interval(folder: Path) -> None:
    with grpc_receiver() as receiver:
        telemetry = {"otlp_endpoint": receiver.endpoint, "metric_interval_s": 0.05, "push_traces": False}
        with running_server(folder, telemetry=telemetry):
            receiver.wait_for(metrics=3)
        assert not receiver.trace_requests


def test_back_ends_that_want_deltas_get_what_is_new(folder: Path) -> None:
    with grpc_receiver() as receiver:
        telemetry = {"otlp_endpoint": receiver.endpoint, "metric_interval_s": 0.05, "metric_temporality": "delta"}
        with running_server(folder, telemetry=telemetry) as running, Caller(running.address) as caller:
            for _ in range(3):
                assert caller.infer(pair(1)).status == "OK"
                receiver.wait_for(metrics=len(receiver.metric_requests) + 2)
        counted = 0
        for request in receiver.metric_requests:
            for scope in request.resource_metrics[0].scope_metrics:
                for metric in scope.metrics:
                    if metric.name == "rpc.server.call.duration":
                        assert metric.histogram.aggregation_temporality == 1
                        counted += sum(point.count for point in metric.histogram.data_points)
        assert counted == 3


def test_only_callers_traces_are_kept_where_no_ratio_is_set(folder: Path) -> None:
    trace = f"00-{7:032x}-{8:016x}-01"
    with grpc_receiver() as receiver:
        telemetry = {"otlp_endpoint": receiver.endpoint, "push_metrics": False}
        with running_server(folder, telemetry=telemetry) as running, Caller(running.address) as caller:
            for _ in range(3):
                assert caller.infer(pair(1)).status == "OK"
            assert caller.infer(pair(1), metadata=[("traceparent", trace)]).status == "OK"
        servers = [span for span in receiver.spans if span.kind == span.SPAN_KIND_SERVER]
        assert [int.from_bytes(span.trace_id) for span in servers] == [7]
        assert int.from_bytes(servers[0].parent_span_id) == 8
        assert not receiver.metric_requests
