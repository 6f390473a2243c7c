"""Pushes traces by OTLP, on a thread of its own, from a bounded queue.

In place of OpenTelemetry's BatchSpanProcessor, which drops without a count that we could tell, makes spans on the
thread of the request, and on shutdown waits for up to 30 s.
"""

import threading
from collections import deque
from collections.abc import Sequence
from typing import Final

from opentelemetry.sdk.trace.export import SpanExportResult

from shoal_server.telemetry import losses as lost
from shoal_server.telemetry.backend import Backend
from shoal_server.telemetry.losses import Losses
from shoal_server.telemetry.made_spans import MadeSpansExporter
from shoal_server.telemetry.request_trace import Record
from shoal_server.telemetry.spans import SpanMaker

_AT_ONCE: Final = 256
"""Records, of a request five spans of some 150 bytes each; to send a message takes 0.5 ms, however small it is."""
_CLOSING_S: Final = 0.5  # for a thread whose exporter was just shut down


class SpanPush:
    """Runs from ``start`` to ``stop``; ``offer`` from any thread, which never waits."""

    def __init__(  # noqa: PLR0913 - its collaborators
        self,
        exporter: MadeSpansExporter,
        endpoint: str,
        maker: SpanMaker,
        losses: Losses,
        *,
        interval_s: float,
        capacity: int,
    ) -> None:
        self._exporter = exporter
        self._maker = maker
        self._losses = losses
        self._interval_s = interval_s
        self._capacity = capacity
        self._enough = min(_AT_ONCE, capacity)
        self._records: deque[Record] = deque()
        self._backend = Backend(lost.TRACES, endpoint)
        self._wake = threading.Event()
        self._stopping = False
        self._given_up = False
        self._thread = threading.Thread(target=self._run, name="shoal-push-traces", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def offer(self, record: Record) -> None:
        """Take a record, or count it as lost where the queue is full."""
        waiting = len(self._records)
        if waiting >= self._capacity:
            self._losses.add(lost.TRACES, lost.QUEUE_FULL)
            return
        self._records.append(record)
        if waiting + 1 >= self._enough and not self._wake.is_set():
            self._wake.set()

    def stop(self, within_s: float) -> None:
        """Push what there is, then end; blocks for at most ``within_s`` and half a second."""
        self._stopping = True
        self._wake.set()
        self._thread.join(within_s)
        self._given_up = True
        self._exporter.shutdown()
        self._thread.join(_CLOSING_S)
        if self._records:
            self._losses.add(lost.TRACES, lost.STOPPED, len(self._records))

    def _run(self) -> None:
        while not self._stopping:
            woken = self._wake.wait(self._interval_s)
            self._wake.clear()
            # What comes while a whole message is sent waits for company, or for the interval.
            self._push(self._enough if woken and not self._stopping else 1)
        self._push(1)

    def _push(self, enough: int) -> None:
        while len(self._records) >= enough and not self._given_up:
            records = [self._records.popleft() for _ in range(min(len(self._records), _AT_ONCE))]
            if not self._backend.send(lambda records=records: self._sent(records)):  # type: ignore[misc] # mypy cannot type the default
                self._losses.add(lost.TRACES, lost.EXPORT_FAILED, len(records))

    def _sent(self, records: Sequence[Record]) -> bool:
        return self._exporter.export(self._maker.made(records)) is SpanExportResult.SUCCESS
