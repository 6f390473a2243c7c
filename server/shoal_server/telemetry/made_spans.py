"""Spans that are made already, and what sends them."""

from dataclasses import dataclass
from typing import Protocol

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace.export import SpanExportResult


@dataclass(frozen=True, slots=True)
class MadeSpans:
    """What exporters are given in the place of OpenTelemetry's own spans: the whole request. ``len`` counts spans."""

    request: ExportTraceServiceRequest

    def __len__(self) -> int:
        return sum(len(scope.spans) for resource in self.request.resource_spans for scope in resource.scope_spans)


class MadeSpansExporter(Protocol):
    """Sends them. Used by one thread, but for ``shutdown``."""

    def export(self, spans: MadeSpans, /) -> SpanExportResult:
        """Send; blocks for as long as the exporter's timeout says."""
        ...

    def shutdown(self) -> None:
        """Send no more, and end what is being sent."""
        ...
