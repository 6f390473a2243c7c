"""What is taken from OpenTelemetry's exporter over HTTP is there, or it is said what to do."""
# ruff: noqa: SLF001 - what is looked at happens when the module is imported

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

from shoal_server.telemetry import http_span_exporter


def test_a_release_that_encodes_in_another_way_is_refused_with_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OTLPSpanExporter, "export", lambda _self, spans: spans)
    with pytest.raises(RuntimeError, match=r"push by gRPC \(OTEL_EXPORTER_OTLP_PROTOCOL=grpc\)"):
        http_span_exporter._export_of_made()
