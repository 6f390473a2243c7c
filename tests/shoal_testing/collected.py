"""What telemetry told, kept in memory: stand-ins for OpenTelemetry's exporters, and a reader of what they got."""

from collections.abc import Sequence
from typing import Any, Final

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, SpanFlags
from opentelemetry.sdk.metrics.export import (
    HistogramDataPoint,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
)
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.trace import Link, SpanContext, SpanKind, TraceFlags, TraceState
from opentelemetry.trace.status import Status, StatusCode

from shoal_server.telemetry import exporters
from shoal_server.telemetry.made_spans import MadeSpans

NOWHERE: Final = "http://127.0.0.1:9"
"""An endpoint for options that the stand-ins never look at."""

Labels = tuple[str, ...]


class MemoryMetricExporter(MetricExporter):
    """Keeps what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.pushes: list[MetricsData] = []

    def export(self, metrics_data: MetricsData, timeout_millis: float = 0, **kwargs: Any) -> MetricExportResult:  # noqa: ANN401, ARG002 - the base class's signature
        self.pushes.append(metrics_data)
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis: float = 0) -> bool:  # noqa: ARG002 - as above
        return True

    def shutdown(self, timeout_millis: float = 0, **kwargs: Any) -> None:  # noqa: ANN401 - as above
        pass


class MemorySpanExporter:
    """Keeps what it is given, as OpenTelemetry's own spans."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def export(self, spans: MadeSpans) -> SpanExportResult:
        self.spans += read_spans(spans)
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        pass


def read_spans(made: MadeSpans) -> Sequence[ReadableSpan]:
    """Return what a collector would make of them."""
    return [
        _read(span)
        for resource in made.request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def _read(span: Span) -> ReadableSpan:
    trace_id = int.from_bytes(span.trace_id)
    state = TraceState.from_header([span.trace_state])
    assert span.flags & SpanFlags.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK
    remote = bool(span.flags & SpanFlags.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK)
    parent = _context(trace_id, span.parent_span_id, state, remote=remote) if span.parent_span_id else None
    assert parent or not remote
    values = {one.key: getattr(one.value, one.value.WhichOneof("value") or "") for one in span.attributes}
    assert len(values) == len(span.attributes), "an attribute is there twice"
    return ReadableSpan(
        span.name,
        _context(trace_id, span.span_id, state),
        parent,
        attributes=values,
        links=[Link(_context(int.from_bytes(link.trace_id), link.span_id)) for link in span.links],
        kind=SpanKind(span.kind - 1),  # OTLP has one more, for those who do not say
        status=Status(StatusCode(span.status.code), span.status.message or None),
        start_time=span.start_time_unix_nano,
        end_time=span.end_time_unix_nano,
    )


def _context(trace_id: int, span_id: bytes, state: TraceState | None = None, *, remote: bool = False) -> SpanContext:
    return SpanContext(trace_id, int.from_bytes(span_id), remote, TraceFlags(TraceFlags.SAMPLED), state)


class Collected:
    """What was told so far."""

    def __init__(self) -> None:
        self.metric_exporter = MemoryMetricExporter()
        self.span_exporter = MemorySpanExporter()

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Have servers made from now on tell it here, where they push."""
        monkeypatch.setattr(exporters, "metric_exporter", lambda _options: self.metric_exporter)
        monkeypatch.setattr(exporters, "span_exporter", lambda _options: self.span_exporter)

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        return self.span_exporter.spans

    def named(self, name: str) -> list[ReadableSpan]:
        """Return the spans of a name, by their start."""
        return sorted((span for span in self.spans if span.name == name), key=lambda span: span.start_time or 0)

    def metric(self, name: str, *labels: str, push: int = -1) -> dict[Labels, float | int | HistogramDataPoint]:
        """Return the points of a metric by the values of some attributes; no two points share these values."""
        found: dict[Labels, float | int | HistogramDataPoint] = {}
        for resource in self.metric_exporter.pushes[push].resource_metrics:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    if metric.name == name:
                        for point in metric.data.data_points:
                            key = tuple(str((point.attributes or {}).get(label, "")) for label in labels)
                            assert key not in found, f"{name}: two points for {key}"
                            assert isinstance(point, NumberDataPoint | HistogramDataPoint)
                            found[key] = point.value if isinstance(point, NumberDataPoint) else point
        return found

    def counts(self, name: str, *labels: str, push: int = -1) -> dict[Labels, float | int]:
        """Return the same, a histogram as how many values it has; what is 0 stays out."""
        points = self.metric(name, *labels, push=push)
        counts = {key: point.count if isinstance(point, HistogramDataPoint) else point for key, point in points.items()}
        return {key: count for key, count in counts.items() if count}
