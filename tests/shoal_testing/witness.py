"""One who calls on while others misbehave, and remembers how that went."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Final

import numpy as np

from shoal_testing.caller import Caller, request_of

_EVERY_S: Final = 0.02
_ROW: Final = np.array([[3.0, 4.0]], np.float32)


class Witness:
    """Calls ``model`` (y = x) fifty times a second, by turns on one connection and on a new one."""

    def __init__(self, address: str, model: str) -> None:
        self._address = address
        self._request = request_of(model, x=_ROW)
        self._over = threading.Event()
        self.took_s: list[float] = []
        self.failures: list[str] = []

    def __str__(self) -> str:
        median_s, worst_s = np.median(self.took_s), max(self.took_s)
        return f"{len(self.took_s)} calls of a bystander, median {median_s * 1e3:.1f} ms, worst {worst_s * 1e3:.0f} ms"

    def watch(self) -> None:
        """Call until it is over."""
        with Caller(self._address) as old:
            while not self._over.wait(_EVERY_S):
                self._call(old)
                began_s = monotonic()
                with Caller(self._address) as new:
                    self._call(new)
                self.took_s[-1] = monotonic() - began_s

    def leave(self) -> None:
        """Let it be over."""
        self._over.set()

    def _call(self, caller: Caller) -> None:
        began_s = monotonic()
        outcome = caller.infer(self._request)
        self.took_s.append(monotonic() - began_s)
        if outcome.status != "OK" or outcome.array().tolist() != _ROW.tolist():
            self.failures.append(f"{outcome.status}: {outcome.text}")


@contextmanager
def witness(address: str, model: str) -> Iterator[Witness]:
    """Have somebody call while the context lasts."""
    one = Witness(address, model)
    thread = threading.Thread(target=one.watch, name="witness")
    thread.start()
    try:
        yield one
    finally:
        one.leave()
        thread.join()
