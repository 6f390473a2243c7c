"""Everything that tells others what the server does: made of what the options ask for, started and stopped as one.

OpenTelemetry's packages and Prometheus's are imported where they are asked for, so that a server without them starts as
fast and as small as if they were not installed.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from random import Random
from typing import TYPE_CHECKING, Final, TypeVar

from shoal_server.clock import Clock
from shoal_server.events import BatchEnded, Event
from shoal_server.options import TelemetryOptions
from shoal_server.telemetry.figures import Figure, figures
from shoal_server.telemetry.losses import Losses
from shoal_server.telemetry.operations import OperationCounts
from shoal_server.telemetry.process import usage
from shoal_server.telemetry.request_trace import Record
from shoal_server.telemetry.snapshot import Snapshots, Sources
from shoal_server.telemetry.traced import traced
from shoal_server.telemetry.tracer import Tracer
from shoal_server.transport.port import Routes

if TYPE_CHECKING:
    from shoal_server.telemetry.metric_push import MetricPush
    from shoal_server.telemetry.prometheus import PrometheusPage
    from shoal_server.telemetry.span_push import SpanPush

T = TypeVar("T")

_log: Final = logging.getLogger("shoal")

_READ_WITHIN_S: Final = 5.0
_FLUSH_WITHIN_S: Final = 2.0


class Telemetry:
    """Made, started and stopped on the loop. An Observer: it is to hear of all events."""

    def __init__(self, options: TelemetryOptions, clock: Clock) -> None:
        self._options = options
        self._clock = clock
        self._losses = Losses()
        self._snapshots: Snapshots | None = None
        self._metric_push: MetricPush | None = None
        self._span_push: SpanPush | None = None
        self._page: PrometheusPage | None = None
        self._cleanup = ExitStack()
        self._tracer: Tracer | None = None
        self.operations = OperationCounts()
        """What is counted of events, one of the ``Sources``."""
        self.prometheus_address = ""
        """Where metrics are scraped, once it has started; empty for nowhere."""
        if options.traces:
            self._tracer = Tracer(options.trace_ratio, self._finished, Random(), callers=options.trace_callers)  # noqa: S311 - ids, not secrets

    def traced(self, routes: Routes) -> Routes:
        """Return routes that record what is traced: the same ones where nothing is."""
        return routes if self._tracer is None else traced(routes, self._tracer, self._clock)

    def observe(self, event: Event) -> None:
        """Take note of an event."""
        if self._tracer is not None:
            self._tracer.observe(event)
        if not isinstance(event, BatchEnded):
            self.operations.observe(event)

    async def start(self, sources: Sources) -> None:
        """Begin to tell.

        Raises:
            CannotListen: the address for Prometheus cannot be bound.
        """
        self._snapshots = Snapshots(sources, self._clock)
        options = self._options
        if options.prometheus or options.metrics_endpoint or options.traces:
            # Imports, files of certificates and a socket: all of it may block.
            await asyncio.to_thread(self._start)
        if self.prometheus_address:
            _log.info("metrics are on http://%s/metrics", self.prometheus_address)
        if self._metric_push is not None:
            _log.info("metrics are pushed to %s every %g s", options.metrics_endpoint, options.metric_interval_s)
        if self._span_push is not None:
            # The share, as whoever misses traces has most often not set it.
            whose = "what callers trace, and of other calls" if options.trace_callers else "of all calls"
            share = f"{whose} a share of {options.trace_ratio:g} (telemetry.trace_ratio)"
            _log.info("traces are pushed to %s: %s", options.traces_endpoint, share)

    async def stop(self, within_s: float) -> None:
        """Tell what is left, within two seconds at most, and end; what nobody takes is dropped."""
        # Metrics last: they say what became of the traces.
        for push in (self._span_push, self._metric_push):
            if push is not None:
                await asyncio.to_thread(push.stop, min(within_s, _FLUSH_WITHIN_S) / 2)
        if self._page is not None:
            await asyncio.to_thread(self._page.stop)
        self._cleanup.close()
        self._snapshots = None  # and with it what it looks at: a listener must not outlive its loop
        lost = {f"{signal} ({reason})": count for (signal, reason), count in self._losses.read().items() if count}
        if lost:
            _log.warning("telemetry that nobody took: %s", ", ".join(f"{count} {what}" for what, count in lost.items()))

    def read(self) -> tuple[Sequence[Figure], float] | None:
        """Return all figures and when they were taken, None where the loop is too busy; blocks, so not on the loop."""
        snapshot = None if self._snapshots is None else self._snapshots.take(_READ_WITHIN_S)
        if snapshot is None:
            return None
        return list(figures(snapshot, usage(), self._losses.read())), snapshot.taken_epoch_s

    def _finished(self, record: Record) -> None:
        if self._span_push is not None:
            self._span_push.offer(record)

    def _start(self) -> None:
        options = self._options
        if options.prometheus:
            self._start_page(options.prometheus)
        if not options.metrics_endpoint and not options.traces:
            return
        try:
            self._start_pushing()
        except Exception as error:  # noqa: BLE001 - as below; some variables it reads where it is imported
            _log.error("nothing is pushed, as OpenTelemetry's library cannot be used: %r", error)

    def _start_pushing(self) -> None:
        options = self._options
        from shoal_server.telemetry import exporters  # noqa: PLC0415 - see the module
        from shoal_server.telemetry.resource import resource, scope  # noqa: PLC0415 - see the module

        self._cleanup.enter_context(exporters.quiet_library())
        whose = resource()
        if options.metrics_endpoint:
            metric_exporter = self._made("metrics", exporters.metric_exporter)
            if metric_exporter is not None:
                from shoal_server.telemetry.metric_push import MetricPush  # noqa: PLC0415 - see the module

                self._metric_push = MetricPush(
                    metric_exporter,
                    options.metrics_endpoint,
                    self.read,
                    whose,
                    self._losses,
                    interval_s=options.metric_interval_s,
                    delta=options.delta,
                )
                self._metric_push.start()
        if options.traces:
            span_exporter = self._made("traces", exporters.span_exporter)
            if span_exporter is not None:
                from shoal_server.telemetry.span_push import SpanPush  # noqa: PLC0415 - see the module
                from shoal_server.telemetry.spans import SpanMaker  # noqa: PLC0415 - see the module

                self._span_push = SpanPush(
                    span_exporter,
                    options.traces_endpoint,
                    SpanMaker(whose, scope(), Random()),  # noqa: S311 - ids, not secrets
                    self._losses,
                    interval_s=options.trace_interval_s,
                    capacity=options.trace_queue,
                )
                self._span_push.start()

    def _made(self, signal: str, make: Callable[[TelemetryOptions], T]) -> T | None:
        """Return an exporter, None where it cannot be made: by its own variables, say, which are not ours to check."""
        try:
            return make(self._options)
        except Exception as error:  # noqa: BLE001 - what a library may raise is not ours to enumerate
            _log.error("%s are not pushed, as their exporter cannot be made: %r", signal, error)
            return None

    def _start_page(self, address: str) -> None:
        from shoal_server.telemetry.prometheus import PrometheusPage  # noqa: PLC0415 - see the module

        host, _colon, port = address.rpartition(":")

        def read() -> Sequence[Figure] | None:
            taken = self.read()
            return None if taken is None else taken[0]

        page = PrometheusPage(host, int(port), read)
        self.prometheus_address = page.start()
        self._page = page
