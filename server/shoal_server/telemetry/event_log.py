"""Events of the core, written to the log."""

import logging
from collections.abc import Sequence
from typing import Final

from shoal_server.events import (
    BatchingStopped,
    Event,
    ExecutionAbandoned,
    ExecutionBroken,
    ModelRemarked,
    Observer,
    VersionChanged,
)

_log: Final = logging.getLogger("shoal")


class EventLog:
    """Writes each event as one line. An Observer."""

    def observe(self, event: Event) -> None:
        """Log an event at the level of its gravity."""
        match event:
            case VersionChanged(model, version, state, reason):
                level = logging.ERROR if state == "failed" else logging.INFO if state == "ready" else logging.DEBUG
                _log.log(level, "model %s version %d is %s%s", model, version, state, f": {reason}" if reason else "")
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
