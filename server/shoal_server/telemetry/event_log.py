"""Events of the core, written to the log."""

import logging
from collections.abc import Sequence
from typing import Final

from shoal_server.events import (
    AdminDecided,
    BatchEnded,
    BatchingStopped,
    CertificateExpiring,
    CertificateRefused,
    CertificateRenewed,
    CurrentChosen,
    Event,
    ExecutionAbandoned,
    ExecutionBroken,
    MemoryKept,
    ModelRemarked,
    Observer,
    OperationEnded,
    VersionBroken,
    VersionChanged,
)

_log: Final = logging.getLogger("shoal")


class EventLog:
    """Writes each event as one line. An Observer."""

    def observe(self, event: Event) -> None:  # noqa: C901, PLR0912 - a case for each event
        """Log an event at the level of its gravity."""
        fields = {"model": getattr(event, "model", None), "version": getattr(event, "version", None)}
        log = logging.LoggerAdapter(_log, fields)
        match event:
            case VersionChanged(model, version, state, reason):
                level = logging.ERROR if state == "failed" else logging.INFO if state == "ready" else logging.DEBUG
                log.log(level, "model %s version %d is %s%s", model, version, state, f": {reason}" if reason else "")
            case VersionBroken(model, version, problem):
                log.error("model %s version %d: loading or closing it met a bug: %s", model, version, problem)
            case CurrentChosen(model, version):
                log.debug("model %s: calls without a version reach %s", model, version or "none")
            case ModelRemarked(model, warning):
                log.warning("model %s: %s", model, warning)
            case ExecutionBroken(model, version, problem):
                log.error("model %s version %d: a batch failed by a bug: %s", model, version, problem)
            case BatchingStopped(model, version):
                log.warning(
                    "model %s version %d: its outputs cannot be split by rows; its requests run one by one from now on",
                    model,
                    version,
                )
            case ExecutionAbandoned(model, version, members, limit_s):
                log.error(
                    "model %s version %d: gave up a batch of %d requests that ran longer than %g s",
                    model,
                    version,
                    members,
                    limit_s,
                )
            case MemoryKept(model, version, size_bytes, returned_bytes):
                log.warning(
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
                    log.warning("%s failed after %.3g s: %s", what, event.seconds, event.problem)
                else:
                    log.info("%s: %s, %.3g s", what, event.outcome, event.seconds)
            case BatchEnded():
                pass  # it is for traces
            case _:
                _log_security(event)


def _log_security(event: CertificateRenewed | CertificateRefused | CertificateExpiring | AdminDecided) -> None:
    match event:
        case CertificateRenewed(about):
            _log.info("new handshakes use the certificate of %s", about)
        case CertificateRefused(problem):
            _log.error("the certificate in use is kept, as the new one cannot be used: %s", problem)
        case CertificateExpiring(what, left_s) if left_s > 0:
            _log.warning("%s expires in %s", what, _days(left_s))
        case CertificateExpiring(what, left_s):
            _log.error("%s has expired: callers will refuse it, or be refused", what)
        case AdminDecided(method, identity, peer, allowed, reason):
            # %r: a certificate's names are its CA's words, and must not begin a line of their own.
            level, verdict = (logging.INFO, "allowed") if allowed else (logging.WARNING, "refused")
            who = repr(identity) if identity else "a caller without a certificate"
            why = f": {reason!r}" if reason else ""
            _log.log(level, "admin call %s %s for %s from %s%s", method, verdict, who, peer, why)


def _days(left_s: float) -> str:
    return f"{left_s / 86_400:.0f} days" if left_s >= 2 * 86_400 else f"{left_s / 3600:.1f} hours"


class Observers:
    """Tells several observers; one that fails is logged, and neither the others nor the core notice.

    Of batches, of which there are many, it tells only ``of_batches``.
    """

    def __init__(self, observers: Sequence[Observer], of_batches: Sequence[Observer]) -> None:
        self._observers = observers
        self._of_batches = of_batches

    def observe(self, event: Event) -> None:
        """Pass an event on."""
        for observer in self._of_batches if isinstance(event, BatchEnded) else self._observers:
            try:
                observer.observe(event)
            except Exception:  # noqa: BLE001 - telemetry may fail, the core may not
                _log.exception("an observer failed")
