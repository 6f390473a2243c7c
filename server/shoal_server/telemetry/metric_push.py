"""Pushes metrics by OTLP at an interval, on a thread of its own."""

import threading
from collections.abc import Callable, Sequence
from typing import Final

from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult
from opentelemetry.sdk.resources import Resource

from shoal_server.telemetry import losses as lost
from shoal_server.telemetry.backend import Backend
from shoal_server.telemetry.delta import Deltas
from shoal_server.telemetry.figures import Figure
from shoal_server.telemetry.losses import Losses
from shoal_server.telemetry.otlp_metrics import metrics_data
from shoal_server.telemetry.resource import scope

_CLOSING_S: Final = 0.5  # for a thread whose exporter was just shut down

Read = Callable[[], tuple[Sequence[Figure], float] | None]
"""Returns the figures and when they were taken, in seconds since 1970; None where they cannot be had now."""


class MetricPush:
    """Runs from ``start`` to ``stop``. However long an export takes, at most one is under way and none waits."""

    def __init__(  # noqa: PLR0913 - its collaborators
        self,
        exporter: MetricExporter,
        endpoint: str,
        read: Read,
        resource: Resource,
        losses: Losses,
        *,
        interval_s: float,
        delta: bool,
    ) -> None:
        self._exporter = exporter
        self._read = read
        self._resource = resource
        self._scope = scope()
        self._losses = losses
        self._interval_s = interval_s
        self._deltas = Deltas() if delta else None
        self._backend = Backend(lost.METRICS, endpoint)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="shoal-push-metrics", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, within_s: float) -> None:
        """Push what there is, once, then end; blocks for at most ``within_s`` and half a second."""
        self._stop.set()
        self._thread.join(within_s)
        self._exporter.shutdown(0)
        self._thread.join(_CLOSING_S)

    def _run(self) -> None:
        while not self._stop.wait(self._interval_s):
            self._push()
        self._push()

    def _push(self) -> None:
        read = self._read()
        if read is None:
            self._losses.add(lost.METRICS, lost.LOOP_BUSY)
            return
        figures, taken_epoch_s = read
        if self._deltas is not None:
            figures = self._deltas.since_last(figures, taken_epoch_s)
        data = metrics_data(figures, taken_epoch_s, self._resource, self._scope, delta=self._deltas is not None)
        if not self._backend.send(lambda: self._exporter.export(data) is MetricExportResult.SUCCESS):
            self._losses.add(lost.METRICS, lost.EXPORT_FAILED)
