"""OpenTelemetry's own exporters, made from our options; what those leave open they read from OTEL_* themselves."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from opentelemetry.sdk.metrics.export import MetricExporter

from shoal_server.options import TelemetryOptions
from shoal_server.telemetry.made_spans import MadeSpansExporter

_MOST_POINTS: Final = 4000
"""Per message over gRPC: a collector takes 4 MiB by default, and a histogram's point is some 400 bytes."""

_LIBRARIES: Final = (
    logging.getLogger("opentelemetry"),
    logging.getLogger("grpc._common"),  # of answers that are no messages; what we serve by grpcio it parses nothing of
)


def metric_exporter(options: TelemetryOptions) -> MetricExporter:
    """Return what pushes metrics to the endpoint."""
    if options.protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as ByGrpc  # noqa: PLC0415

        return ByGrpc(endpoint=options.metrics_endpoint, max_export_batch_size=_MOST_POINTS)
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as ByHttp  # noqa: PLC0415

    from shoal_server.telemetry.bounded_answers import bounded_session  # noqa: PLC0415

    return ByHttp(endpoint=options.metrics_endpoint, session=bounded_session())


def span_exporter(options: TelemetryOptions) -> MadeSpansExporter:
    """Return what pushes spans to the endpoint."""
    if options.protocol == "grpc":
        from shoal_server.telemetry.grpc_span_exporter import GrpcSpanExporter  # noqa: PLC0415

        return GrpcSpanExporter(endpoint=options.traces_endpoint)
    from shoal_server.telemetry.bounded_answers import bounded_session  # noqa: PLC0415
    from shoal_server.telemetry.http_span_exporter import HttpSpanExporter  # noqa: PLC0415

    return HttpSpanExporter(endpoint=options.traces_endpoint, session=bounded_session())


@contextmanager
def quiet_library() -> Iterator[None]:
    """Keep the exporters from logging each attempt that fails; that it fails we say ourselves, once.

    At the level DEBUG they may say it all.
    """
    before = [library.level for library in _LIBRARIES]
    for library in _LIBRARIES:
        if library.level == logging.NOTSET and library.getEffectiveLevel() > logging.DEBUG:
            library.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for library, level in zip(_LIBRARIES, before, strict=True):
            library.setLevel(level)
