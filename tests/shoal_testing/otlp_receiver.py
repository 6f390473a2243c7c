"""Collectors made of OpenTelemetry's own services: over gRPC and over HTTP, on whatever port is free."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics_pb
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as metrics_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as trace_pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as trace_grpc
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span

WITHIN_S: Final = 10.0


class Receiver:
    """What was pushed, whole requests in order. ``refusing`` answers all of them with an error."""

    def __init__(self) -> None:
        self.metric_requests: list[metrics_pb.ExportMetricsServiceRequest] = []
        self.trace_requests: list[trace_pb.ExportTraceServiceRequest] = []
        self.headers: list[dict[str, str]] = []
        self.endpoint = ""
        self.refusing = False
        self.hold: threading.Event | None = None
        """Where set, nobody is answered before it is."""
        self._came = threading.Condition()

    def take(self, kind: list[Any], request: Any, headers: dict[str, str]) -> None:  # noqa: ANN401 - one of two messages
        with self._came:
            kind.append(request)
            self.headers.append(headers)
            self._came.notify_all()
        if self.hold is not None:
            self.hold.wait(WITHIN_S)

    def wait_for(self, *, metrics: int = 0, traces: int = 0) -> None:
        """Wait until so many requests of each kind have come."""
        with self._came:
            assert self._came.wait_for(
                lambda: len(self.metric_requests) >= metrics and len(self.trace_requests) >= traces, WITHIN_S
            ), f"{len(self.metric_requests)} requests with metrics, {len(self.trace_requests)} with traces"

    @property
    def metrics(self) -> dict[str, Metric]:
        """The metrics of the last request, by name."""
        (resource,) = self.metric_requests[-1].resource_metrics
        return {metric.name: metric for scope in resource.scope_metrics for metric in scope.metrics}

    @property
    def spans(self) -> list[Span]:
        """All spans."""
        return [
            span
            for request in self.trace_requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    @property
    def resource(self) -> dict[str, str]:
        """The texts among the attributes of whoever pushed metrics last."""
        attributes = self.metric_requests[-1].resource_metrics[0].resource.attributes
        return {attribute.key: attribute.value.string_value for attribute in attributes}


@contextmanager
def grpc_receiver() -> Iterator[Receiver]:
    """Receive over gRPC while the context lasts."""
    receiver = Receiver()

    class Metrics(metrics_grpc.MetricsServiceServicer):
        def Export(self, request: Any, context: Any) -> Any:  # noqa: ANN401, N802 - the generated code's
            receiver.take(receiver.metric_requests, request, _headers(context))
            if receiver.refusing:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, "not today")
            return metrics_pb.ExportMetricsServiceResponse()

    class Traces(trace_grpc.TraceServiceServicer):
        def Export(self, request: Any, context: Any) -> Any:  # noqa: ANN401, N802 - as above
            receiver.take(receiver.trace_requests, request, _headers(context))
            if receiver.refusing:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, "not today")
            return trace_pb.ExportTraceServiceResponse()

    with ThreadPoolExecutor(4) as pool:
        server = grpc.server(pool)
        metrics_grpc.add_MetricsServiceServicer_to_server(Metrics(), server)  # type: ignore[no-untyped-call]
        trace_grpc.add_TraceServiceServicer_to_server(Traces(), server)  # type: ignore[no-untyped-call]
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        receiver.endpoint = f"http://127.0.0.1:{port}"
        try:
            yield receiver
        finally:
            if receiver.hold is not None:
                receiver.hold.set()
            server.stop(0).wait(WITHIN_S)


def _headers(context: grpc.ServicerContext) -> dict[str, str]:
    return {key: str(value) for key, value in context.invocation_metadata()}


@contextmanager
def http_receiver() -> Iterator[Receiver]:
    """Receive over HTTP while the context lasts."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {key.lower(): value for key, value in self.headers.items()}
            if self.path == "/v1/metrics":
                message = metrics_pb.ExportMetricsServiceRequest.FromString(body)
                receiver.take(receiver.metric_requests, message, headers)
            else:
                assert self.path == "/v1/traces", self.path
                receiver.take(receiver.trace_requests, trace_pb.ExportTraceServiceRequest.FromString(body), headers)
            self.send_response(400 if receiver.refusing else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name for it
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        receiver.endpoint = f"http://127.0.0.1:{server.server_port}"
        try:
            yield receiver
        finally:
            if receiver.hold is not None:
                receiver.hold.set()
            server.shutdown()
            thread.join()
