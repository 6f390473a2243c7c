"""What telemetry told, kept in memory: stand-ins for OpenTelemetry's exporters, and a reader of what they got."""

from collections.abc import Sequence
from typing import Any, Final

import pytest
from opentelemetry.sdk.metrics.export import (
    HistogramDataPoint,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
)
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from shoal_server.telemetry import exporters

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


class Collected:
    """What was told so far."""

    def __init__(self) -> None:
        self.metric_exporter = MemoryMetricExporter()
        self.span_exporter = InMemorySpanExporter()

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Have servers made from now on tell it here, where they push."""
        monkeypatch.setattr(exporters, "metric_exporter", lambda _options: self.metric_exporter)
        monkeypatch.setattr(exporters, "span_exporter", lambda _options: self.span_exporter)

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        return self.span_exporter.get_finished_spans()

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
