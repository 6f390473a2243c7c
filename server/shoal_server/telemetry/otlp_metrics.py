"""Figures as OpenTelemetry's data points."""

from collections.abc import Sequence
from typing import Final, assert_never

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from shoal_server.histogram import Buckets
from shoal_server.telemetry.conventions import SCHEMA_URL
from shoal_server.telemetry.figures import Figure, Kind, Point

_NS: Final = 1_000_000_000


def metrics_data(
    figures: Sequence[Figure], taken_epoch_s: float, resource: Resource, scope: InstrumentationScope, *, delta: bool
) -> MetricsData:
    """Return the figures of one moment; with ``delta`` they count since the last, else since the start."""
    counted = AggregationTemporality.DELTA if delta else AggregationTemporality.CUMULATIVE
    now_ns = int(taken_epoch_s * _NS)
    metrics = [Metric(one.name, one.about, one.unit, _data(one, now_ns, counted)) for one in figures]
    scopes = [ScopeMetrics(scope, metrics, SCHEMA_URL)]
    return MetricsData([ResourceMetrics(resource, scopes, resource.schema_url)])


def _data(figure: Figure, now_ns: int, counted: AggregationTemporality) -> Sum | Gauge | Histogram:
    match figure.kind:
        case Kind.HISTOGRAM:
            return Histogram([_histogram(point, now_ns) for point in figure.points], counted)
        case Kind.COUNTER:
            return Sum([_number(point, now_ns) for point in figure.points], counted, is_monotonic=True)
        case Kind.LEVEL:
            points = [_number(point, now_ns) for point in figure.points]
            return Sum(points, AggregationTemporality.CUMULATIVE, is_monotonic=False)
        case Kind.GAUGE:
            return Gauge([_number(point, now_ns) for point in figure.points])
        case _:
            assert_never(figure.kind)


def _number(point: Point, now_ns: int) -> NumberDataPoint:
    assert not isinstance(point.value, Buckets), "a number is wanted"
    return NumberDataPoint(dict(point.attributes), int(point.since_epoch_s * _NS), now_ns, point.value)


def _histogram(point: Point, now_ns: int) -> HistogramDataPoint:
    buckets = point.value
    assert isinstance(buckets, Buckets), "a histogram is wanted"
    # The smallest and largest value are not kept; the middle of their buckets' bounds would be a guess.
    return HistogramDataPoint(
        attributes=dict(point.attributes),
        start_time_unix_nano=int(point.since_epoch_s * _NS),
        time_unix_nano=now_ns,
        count=buckets.size,
        sum=buckets.total,
        bucket_counts=buckets.counts,
        explicit_bounds=buckets.bounds,
        min=None,  # type: ignore[arg-type] # optional on the wire, where the encoder takes None for absent
        max=None,  # type: ignore[arg-type] # as above
    )
