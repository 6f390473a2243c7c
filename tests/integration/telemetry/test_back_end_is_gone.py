"""A collector that is not there, hangs or refuses changes nothing else: calls are answered, and losses are counted."""

import logging
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from opentelemetry.sdk.metrics.export import MetricExportResult, MetricsData
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from shoal_server.telemetry import exporters
from shoal_testing.at_rest import eventually
from shoal_testing.caller import Caller
from shoal_testing.collected import NOWHERE, MemoryMetricExporter
from shoal_testing.otlp_receiver import grpc_receiver, http_receiver
from shoal_testing.scripted import pair
from shoal_testing.server import RunningServer, running_server

QUEUE = 8
CALLS = 40

Losses = dict[str, float]


class StuckSpanExporter(SpanExporter):
    """Takes nothing and returns only when it is let go."""

    def __init__(self, go: threading.Event) -> None:
        self.stuck = threading.Event()
        self._go = go

    def export(self, spans: object) -> SpanExportResult:  # noqa: ARG002 - the base class's signature
        self.stuck.set()
        self._go.wait()
        return SpanExportResult.FAILURE

    def shutdown(self) -> None:
        self._go.set()


class StuckMetricExporter(MemoryMetricExporter):
    """The same for metrics."""

    def __init__(self, go: threading.Event) -> None:
        super().__init__()
        self.stuck = threading.Event()
        self._go = go

    def export(self, metrics_data: MetricsData, timeout_millis: float = 0, **kwargs: object) -> MetricExportResult:  # noqa: ARG002 - as above
        self.stuck.set()
        self._go.wait()
        return MetricExportResult.FAILURE

    def shutdown(self, timeout_millis: float = 0, **kwargs: object) -> None:  # noqa: ARG002 - as above
        self._go.set()


@pytest.fixture
def go() -> Iterator[threading.Event]:
    """Lets what is stuck go, at the end of the test at the latest."""
    event = threading.Event()
    yield event
    event.set()


def losses(running: RunningServer) -> Losses:
    """Return what the server itself says that it lost, as anyone who scrapes would read it."""
    read = running.server.telemetry.read()
    assert read is not None
    return {
        " ".join(value for _key, value in point.attributes): float(str(point.value))
        for figure in read[0]
        if figure.name == "shoal.telemetry.losses"
        for point in figure.points
    }


def call(running: RunningServer, times: int) -> None:
    with Caller(running.address) as caller:
        assert [caller.infer(pair(1)).status for _ in range(times)] == ["OK"] * times


def test_calls_are_answered_while_both_exporters_hang_and_what_exceeds_the_queue_is_counted(
    folder: Path, monkeypatch: pytest.MonkeyPatch, go: threading.Event
) -> None:
    spans, metrics = StuckSpanExporter(go), StuckMetricExporter(go)
    monkeypatch.setattr(exporters, "span_exporter", lambda _options: spans)
    monkeypatch.setattr(exporters, "metric_exporter", lambda _options: metrics)
    telemetry = {
        "otlp_endpoint": NOWHERE,
        "trace_ratio": 1.0,
        "trace_queue": QUEUE,
        "trace_interval_s": 0.01,
        "metric_interval_s": 0.01,
    }
    with running_server(folder, telemetry=telemetry) as running:
        call(running, 1)
        assert spans.stuck.wait(10)
        assert metrics.stuck.wait(10)
        call(running, CALLS)
        # Each call makes a record of itself and one of its batch; at most those of the first are with the exporter.
        lost = eventually(
            running, lambda: losses(running), lambda now: "traces queue_full" in now, "nothing was dropped"
        )
        assert 2 * CALLS - QUEUE <= lost["traces queue_full"] <= 2 * CALLS + 2
    assert not any(thread.name.startswith("shoal-push") for thread in threading.enumerate())


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_a_collector_that_is_not_there_is_told_of_once_and_does_not_hold_up_the_end(
    folder: Path, protocol: str, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        telemetry = {
            "otlp_endpoint": f"http://127.0.0.1:{taken.getsockname()[1]}",
            "otlp_protocol": protocol,
            "trace_ratio": 1.0,
            "trace_interval_s": 0.01,
            "metric_interval_s": 0.01,
        }
        with running_server(folder, telemetry=telemetry) as running:
            call(running, 5)
    errors = [record for record in caplog.records if record.levelno >= logging.WARNING]
    # Another warning where the native transport is not built.
    errors = [record for record in errors if not record.name.startswith("shoal_server.transport")]
    assert [record.name for record in errors] == ["shoal"] * len(errors), "the exporters' own complaints are not logged"
    texts = [record.getMessage() for record in errors]
    assert sum("traces cannot be sent" in text for text in texts) <= 1
    assert sum("metrics cannot be sent" in text for text in texts) <= 1
    assert sum("telemetry that nobody took" in text for text in texts) == 1
    assert len(texts) <= 3


@pytest.mark.parametrize("receiving", [grpc_receiver, http_receiver])
def test_a_collector_that_refuses_is_told_of_when_that_begins_and_when_it_ends(
    folder: Path,
    receiving: type,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "shoal")
    with receiving() as receiver:
        receiver.refusing = True
        protocol = "grpc" if receiving is grpc_receiver else "http/protobuf"
        telemetry = {
            "otlp_endpoint": receiver.endpoint,
            "otlp_protocol": protocol,
            "push_traces": False,
            "metric_interval_s": 0.02,
        }
        with running_server(folder, telemetry=telemetry) as running:
            receiver.wait_for(metrics=3)
            call(running, 3)
            assert losses(running)["metrics export_failed"] >= 2
            receiver.refusing = False
            receiver.wait_for(metrics=len(receiver.metric_requests) + 3)
            assert receiver.metrics["rpc.server.call.duration"].histogram.data_points[0].count == 3, (
                "nothing is missing"
            )
    texts = [record.getMessage() for record in caplog.records if record.name == "shoal"]
    assert sum("metrics cannot be sent" in text for text in texts) == 1
    assert sum("metrics are taken again" in text for text in texts) == 1


def test_a_collector_that_never_answers_ends_with_the_server(folder: Path) -> None:
    with grpc_receiver() as receiver:
        receiver.hold = threading.Event()
        telemetry = {"otlp_endpoint": receiver.endpoint, "trace_ratio": 1.0, "trace_interval_s": 0.01}
        with running_server(folder, telemetry=telemetry) as running:
            call(running, 2)
            receiver.wait_for(traces=1)
            call(running, 10)
        assert not any(thread.name.startswith("shoal-push") for thread in threading.enumerate())


class Babbling(grpc.GenericRpcHandler):
    """Answers whatever is asked with what is no message."""

    def __init__(self) -> None:
        self.asked = threading.Semaphore(0)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes]":  # noqa: ARG002 - the base class's
        def answer(_request: bytes, _context: grpc.ServicerContext) -> bytes:
            self.asked.release()
            return b"\xff" * 100

        return grpc.unary_unary_rpc_method_handler(answer)


def test_a_collector_whose_answers_are_no_messages_is_told_of_once(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    babbling = Babbling()
    with ThreadPoolExecutor(2) as pool:
        collector = grpc.server(pool, [babbling])
        endpoint = f"http://127.0.0.1:{collector.add_insecure_port('127.0.0.1:0')}"
        collector.start()
        telemetry = {"otlp_endpoint": endpoint, "push_traces": False, "metric_interval_s": 0.02}
        with running_server(folder, telemetry=telemetry):
            for _ in range(5):
                assert babbling.asked.acquire(timeout=10)
        collector.stop(0).wait(10)
    records = [record for record in caplog.records if record.levelno >= logging.WARNING]
    texts = [record.getMessage() for record in records if not record.name.startswith("shoal_server.transport")]
    assert [text.partition(" to ")[0] for text in texts if "that nobody took" not in text] == ["metrics cannot be sent"]


def test_an_exporter_that_raises_costs_what_it_was_to_send_and_no_more(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Raising(SpanExporter):
        taken = 0

        def export(self, spans: "list[ReadableSpan]") -> SpanExportResult:  # type: ignore[override]
            if self.taken == 0:
                self.taken = 1
                raise RuntimeError("a bug of theirs")
            self.taken += len(spans)
            return SpanExportResult.SUCCESS

    exporter = Raising()
    monkeypatch.setattr(exporters, "span_exporter", lambda _options: exporter)
    telemetry = {"otlp_endpoint": NOWHERE, "push_metrics": False, "trace_ratio": 1.0, "trace_interval_s": 0.01}
    with running_server(folder, telemetry=telemetry) as running:
        call(running, 1)
        eventually(running, lambda: losses(running), lambda now: "traces export_failed" in now, "it has not raised")
        call(running, 1)
        eventually(running, lambda: exporter.taken, lambda taken: taken > 1, "it was given up")


def test_the_log_says_at_the_start_what_is_pushed_where(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "shoal")
    with grpc_receiver() as receiver, running_server(folder, telemetry={"otlp_endpoint": receiver.endpoint}):
        texts = [record.getMessage() for record in caplog.records if record.name == "shoal"]
    which = "what callers trace, and of other calls a share of 0 (telemetry.trace_ratio)"
    assert [text for text in texts if "pushed" in text] == [
        f"metrics are pushed to {receiver.endpoint} every 60 s",
        f"traces are pushed to {receiver.endpoint}: {which}",
    ]


def test_an_exporter_that_cannot_be_made_is_told_of_and_the_server_serves(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "by folding")
    with running_server(folder, telemetry={"otlp_endpoint": NOWHERE, "trace_ratio": 1.0}) as running:
        call(running, 3)
    texts = [record.getMessage() for record in caplog.records if record.name == "shoal"]
    assert [text.partition(":")[0] for text in texts] == [
        f"{signal} are not pushed, as their exporter cannot be made" for signal in ("metrics", "traces")
    ]
