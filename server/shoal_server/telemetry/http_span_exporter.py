"""OpenTelemetry's exporter of spans over HTTP, for spans that are made already."""

from collections.abc import Callable
from types import FunctionType
from typing import Any, Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace.export import SpanExportResult

from shoal_server.telemetry.made_spans import MadeSpans

_ENCODE: Final = "encode_spans"


def _export_of_made() -> Callable[[OTLPSpanExporter, MadeSpans], SpanExportResult]:
    """Return the library's own ``export``, in which the function that encodes is one that has nothing to do.

    It has no method of its own for that, as the exporter over gRPC does, and its ways of retrying change.

    Raises:
        RuntimeError: this release of the library encodes in another way.
    """
    export: Any = OTLPSpanExporter.export
    if _ENCODE not in export.__code__.co_names:
        raise RuntimeError(
            "this release of opentelemetry-exporter-otlp-proto-http encodes spans in a way that is not known here; "
            "push by gRPC (OTEL_EXPORTER_OTLP_PROTOCOL=grpc), or install another release"
        )
    names = {**export.__globals__, _ENCODE: lambda spans: spans.request}
    return FunctionType(export.__code__, names, export.__name__, export.__defaults__, export.__closure__)


class HttpSpanExporter(OTLPSpanExporter):
    """All is as there but that nothing is encoded."""

    _export_made = _export_of_made()

    def export(self, spans: MadeSpans) -> SpanExportResult:  # type: ignore[override] # see the module
        """Send, again and again within the exporter's timeout."""
        return self._export_made(spans)
