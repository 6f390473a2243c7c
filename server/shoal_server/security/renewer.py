"""Looks at the files once a second, and hands over what is new and good."""

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Final

from shoal_server.clock import Clock
from shoal_server.events import CertificateExpiring, CertificateRefused, CertificateRenewed, Event
from shoal_server.security.certificates import checked
from shoal_server.security.material import Material, TlsFiles, UnusableMaterial, read
from shoal_server.security.renewal import Renewal
from shoal_server.security.validity import ExpiryWatch
from shoal_server.transport.port import TlsMaterial, TlsRefused

_log: Final = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 1.0


class Renewer:
    """Renews certificates from files while it runs, on a thread of its own.

    Files are compared by what they hold, so that it does not matter whether they are overwritten, renamed, or reached
    by a symbolic link that is swapped, as Kubernetes does. Only how long certificates are valid depends on the wall
    clock. ``renew`` and ``tell`` are called on the thread.
    """

    def __init__(
        self,
        files: TlsFiles,
        first: Material,
        renew: Sequence[Callable[[TlsMaterial], None]],
        clock: Clock,
        tell: Callable[[Event], None],
    ) -> None:
        self._files = files
        self._renew = renew
        self._clock = clock
        self._tell = tell
        self._renewal = Renewal(first.digest)
        self._watches = _watches(first)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="shoal-certificates", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more. Does not wait for a look that is under way: on a share that hangs it may never end."""
        self._stop.set()

    def look(self) -> None:
        """Look once."""
        now_epoch_s = self._clock.epoch()
        decision = self._decide(now_epoch_s)
        if isinstance(decision, Material):
            self._watches = _watches(decision)
            self._tell(CertificateRenewed(decision.about))
        elif decision is not None:
            self._tell(CertificateRefused(str(decision)))
        for watch in self._watches:
            if watch.due(now_epoch_s):
                self._tell(CertificateExpiring(watch.validity.what, watch.validity.ends_s - now_epoch_s))

    def _decide(self, now_epoch_s: float) -> Material | UnusableMaterial | None:
        try:
            contents = read(self._files)
        except UnusableMaterial as problem:
            return self._renewal.decide(str(problem), problem)
        if self._renewal.unchanged(contents.digest):
            return None
        try:
            found: Material | UnusableMaterial = checked(self._files, contents, now_epoch_s)
            for renew in self._renew:
                renew(contents.tls)
        except UnusableMaterial as problem:
            found = problem
        except TlsRefused as problem:
            found = UnusableMaterial(f"{self._files.certificate}: {problem}")
        return self._renewal.decide(contents.digest, found)

    def _run(self) -> None:
        failing = False
        while not self._stop.wait(LOOK_EVERY_S):
            try:
                self.look()
            except Exception:  # noqa: BLE001 - the certificates in use stay good, and the next look may go better
                if not failing and not self._stop.is_set():
                    _log.exception("looking at the certificates failed; trying again every %g s", LOOK_EVERY_S)
                failing = True
            else:
                failing = False


def _watches(material: Material) -> tuple[ExpiryWatch, ...]:
    return tuple(ExpiryWatch(validity) for validity in material.validities)
