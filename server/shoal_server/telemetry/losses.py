"""What telemetry itself has lost: counted where it happens, told with the other figures."""

import threading
from collections import Counter
from collections.abc import Mapping
from typing import Final

TRACES: Final = "traces"
METRICS: Final = "metrics"

QUEUE_FULL: Final = "queue_full"
EXPORT_FAILED: Final = "export_failed"
LOOP_BUSY: Final = "loop_busy"
STOPPED: Final = "stopped"

LossesMeasured = Mapping[tuple[str, str], int]
"""Counts by signal and reason."""


class Losses:
    """From any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str]] = Counter()

    def add(self, signal: str, reason: str, count: int = 1) -> None:
        """Count what is lost."""
        with self._lock:
            self._counts[signal, reason] += count

    def read(self) -> LossesMeasured:
        """Return a copy."""
        with self._lock:
            return dict(self._counts)
