"""Events of the core, written to the log."""

import logging
from collections.abc import Sequence
from typing import Final

from shoal_server.events import (
    BatchingStopped,
    CurrentChosen,
    Event,
    ExecutionAbandoned,
    ExecutionBroken,
    MemoryKept,
    ModelRemarked,
    Observer,
    OperationEnded,
    VersionChanged,
)

_log: Final = logging.getLogger("shoal")


class EventLog:
    """Writes each event as one line. An Observer."""

    def observe(self, event: Event) -> None:  # noqa: C901 - a case for each event
        """Log an event at the level of its gravity."""
        match event:
            case VersionChanged(model, version, state, reason):
                level = logging.ERROR if state == "failed" else logging.INFO if state == "ready" else logging.DEBUG
                _log.log(level, "model %s version %d is %s%s", model, version, state, f": {reason}" if reason else "")
            case CurrentChosen(model, version):
                _log.debug("model %s: calls without a version reach %s", model, version or "none")
            case ModelRemarked(model, warning):
                _log.warning("model %s: %s", model, warning)
            case ExecutionBroken(model, version, problem):
                _log.error("model %s version %d: a batch failed by a bug: %s", model, version, problem)
            case BatchingStopped(model, version):
                _log.warning(
                    "model %s version %d: its outputs cannot be split by rows; its requests run one by one from now on",
                    model,
                    version,
                )
            case ExecutionAbandoned(model, version, members, limit_s):
                _log.error(
                    "model %s version %d: gave up a batch of %d requests that ran longer than %g s",
                    model,
                    version,
                    members,
                    limit_s,
                )
            case MemoryKept(model, version, size_bytes, returned_bytes):
                _log.warning(
                    "model %s version %d: its files have %d MB, and unloading it gave back %d MB",
                    model,
                    version,
                    size_bytes >> 20,
                    returned_bytes >> 20,
                )
            case OperationEnded():
                what = f"{event.operation} of model {event.model}"
                if event.version:
                    what += f", version {event.version}"
                if event.problem:
                    _log.warning("%s failed after %.3g s: %s", what, event.seconds, event.problem)
                else:
                    _log.info("%s: %s, %.3g s", what, event.outcome, event.seconds)


class Observers:
    """Tells several observers; one that fails is logged, and neither the others nor the core notice."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = observers

    def observe(self, event: Event) -> None:
        """Pass an event on."""
        for observer in self._observers:
            try:
                observer.observe(event)
            except Exception:  # noqa: BLE001 - telemetry may fail, the core may not
                _log.exception("an observer failed")
