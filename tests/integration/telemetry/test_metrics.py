"""Exact counts of the scripted scenario, as metrics."""

from typing import Any

from opentelemetry.sdk.metrics.export import AggregationTemporality, HistogramDataPoint

from shoal_testing.scripted import Told

INFER = "inference.GRPCInferenceService/ModelInfer"
STREAM = "inference.GRPCInferenceService/ModelStreamInfer"
LIVE = "inference.GRPCInferenceService/ServerLive"


def histogram(told: Told, name: str, *labels: str) -> HistogramDataPoint:
    """Return the only point of a histogram."""
    (point,) = told.collected.metric(name, *labels).values()
    assert isinstance(point, HistogramDataPoint)
    return point


def test_the_callers_got_what_the_script_says(told: Told) -> None:
    assert told.statuses == [
        *["OK"] * 5,
        *["INVALID_ARGUMENT", "NOT_FOUND", "INVALID_ARGUMENT", "UNIMPLEMENTED", "UNIMPLEMENTED"],
        *["INTERNAL", "INVALID_ARGUMENT", "INTERNAL"],
        *["RESOURCE_EXHAUSTED", "OK", "OK", "OK", "OK"],
        *["OK", "3"],
    ]


def test_every_call_is_counted_once_by_method_and_status_however_it_ended(told: Told) -> None:
    counts = told.collected.counts("rpc.server.call.duration", "rpc.method", "rpc.status_code", "error.type")
    assert counts == {
        (INFER, "OK", ""): 8,
        (INFER, "INVALID_ARGUMENT", ""): 3,
        (INFER, "NOT_FOUND", ""): 1,
        (INFER, "INTERNAL", "INTERNAL"): 2,
        (INFER, "DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED"): 1,
        (INFER, "CANCELLED", ""): 1,
        (INFER, "RESOURCE_EXHAUSTED", ""): 1,
        (STREAM, "OK", ""): 1,
        (LIVE, "OK", ""): 1,
        ("_OTHER", "UNIMPLEMENTED", "UNIMPLEMENTED"): 2,
    }
    assert set(told.collected.counts("rpc.server.call.duration", "rpc.system.name", "rpc.method", "rpc.status_code"))


def test_a_call_that_expired_took_as_long_as_its_deadline(told: Told) -> None:
    points = told.collected.metric("rpc.server.call.duration", "rpc.method", "rpc.status_code")
    expired = points[INFER, "DEADLINE_EXCEEDED"]
    assert isinstance(expired, HistogramDataPoint)
    assert 0.15 < expired.sum < 5
    assert sum(expired.bucket_counts) == expired.count == 1


def test_requests_to_a_version_are_counted_by_what_became_of_them(told: Told) -> None:
    counts = told.collected.counts("shoal.model.requests", "shoal.model.name", "shoal.model.version", "shoal.outcome")
    assert counts == {
        ("pair", "1", "ok"): 10,  # eight calls, and two requests of the stream
        ("pair", "1", "invalid"): 3,
        ("pair", "1", "execution_failed"): 1,
        ("pair", "1", "internal"): 1,
        ("pair", "1", "deadline"): 1,
        ("pair", "1", "cancelled"): 1,
        ("pair", "1", "overloaded"): 1,
    }


def test_refusals_at_the_door_are_counted_by_the_bound(told: Told) -> None:
    assert told.collected.counts("shoal.refusals", "shoal.refusal.reason") == {("requests",): 1}


def test_batches_rows_and_stages_are_counted_per_version(told: Told) -> None:
    version = ("shoal.model.name", "shoal.model.version")
    batches = told.collected.counts("shoal.model.batches", *version, "shoal.batch.close_reason")
    assert batches == {("pair", "1", "slot_free"): 11}, "four ok, three failing, two at the gate, two of the stream"
    rows = histogram(told, "shoal.model.batch.rows", *version)
    assert (rows.count, rows.sum) == (11, 4 * 1 + 2 + 3 * 1 + 1 + 3 + 2)
    stages = told.collected.counts("shoal.model.batch.stage.duration", "shoal.batch.stage")
    assert stages == dict.fromkeys([("compute_input",), ("compute_infer",), ("compute_output",)], 8)
    for name in ("shoal.model.queue.duration", "shoal.model.request.duration"):
        assert histogram(told, name).count == 10
    assert histogram(told, "shoal.model.queue.duration").sum <= histogram(told, "shoal.model.request.duration").sum


def test_a_model_that_nobody_called_has_no_series_but_its_state(told: Told) -> None:
    assert all(
        key[0] == "pair" for key in told.collected.metric("shoal.model.requests", "shoal.model.name", "shoal.outcome")
    )
    states = told.collected.counts("shoal.model.version.state", "shoal.model.name", "shoal.model.version.state")
    assert states == {("idle", "unloaded"): 1, ("pair", "unloaded"): 1}, "the last push comes when all is over"
    moves = told.collected.counts("shoal.model.version.moves", "shoal.model.version.state")
    assert moves == {(state,): 2 for state in ("loading", "warming up", "ready", "draining", "unloading", "unloaded")}


def test_when_all_is_over_nothing_is_inside_and_nothing_was_lost(told: Told) -> None:
    for name in ("requests", "rows", "size"):
        assert told.collected.metric(f"shoal.active.{name}") == {(): 0}
    assert told.collected.metric("shoal.telemetry.losses", "shoal.telemetry.reason") == {}
    assert len(told.collected.metric_exporter.pushes) == 1


def test_the_process_tells_its_memory_its_time_and_the_loops_lag(told: Told) -> None:
    (memory,) = told.collected.metric("process.memory.usage").values()
    assert isinstance(memory, int)
    assert memory > 20_000_000
    assert set(told.collected.metric("process.cpu.time", "cpu.mode")) == {("user",), ("system",)}
    assert ("",) not in told.collected.metric("shoal.event_loop.lag")


def test_counts_are_cumulative_and_say_since_when(told: Told) -> None:
    (push,) = told.collected.metric_exporter.pushes
    (resource,) = push.resource_metrics
    assert resource.resource.attributes["service.name"] == "shoal"
    (scope,) = resource.scope_metrics
    assert scope.scope.name == "shoal"
    for metric in scope.metrics:
        data: Any = metric.data
        if hasattr(data, "aggregation_temporality"):
            assert data.aggregation_temporality is AggregationTemporality.CUMULATIVE, metric.name
        for point in data.data_points:
            assert 0 < point.start_time_unix_nano <= point.time_unix_nano, metric.name
