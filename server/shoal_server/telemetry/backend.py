"""Whether a back end takes what it is sent: said once when that changes, not at each attempt."""

import logging
from collections.abc import Callable

_log = logging.getLogger("shoal")


class Backend:
    """Sends by a function that returns whether it was taken. Used by one thread."""

    def __init__(self, signal: str, endpoint: str) -> None:
        self._signal = signal
        self._endpoint = endpoint
        self._takes = True

    def send(self, export: Callable[[], bool]) -> bool:
        """Return whether it was taken; whatever the exporter raises is a no."""
        reason = "it does not answer, or refuses"
        try:
            taken = export()
        except Exception as error:  # noqa: BLE001 - what an exporter may raise is not ours to enumerate
            taken, reason = False, repr(error)
        if taken != self._takes:
            self._takes = taken
            if taken:
                _log.info("%s are taken again by %s", self._signal, self._endpoint)
            else:
                _log.warning(
                    "%s cannot be sent to %s: %s; they are dropped until they can, and nothing else changes",
                    self._signal,
                    self._endpoint,
                    reason,
                )
        return taken
