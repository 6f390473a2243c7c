"""Work on a large model that lets everything else go first."""

import os
import sys
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, Final, TypeAlias, TypeVar

T = TypeVar("T")

_Errands: TypeAlias = "SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None]"

_LARGE_BYTES: Final = 1 << 20
_STEPS: Final = 10  # of niceness: a tenth of the processor where somebody else wants it
_LOWEST: Final = 19


class Quiet:
    """Does what takes long on a thread of low priority: one for each thread that asks, which ends with it.

    A thread cannot be raised again, and threads that a session makes for its operators have the priority of their maker
    for good, so such sessions are not to be made here. Nor is what holds the interpreter's lock for long, as all would
    wait for the slow one. The thread stays the same, because the C library gives each its own memory, and what was
    freed in that of one is of little use to the next.

    Measured on two cores under 200 calls a second to a small model, beside endless runs of one of 400 MB: p99 of the
    calls 4.8 ms without these, 6.7 ms with them at normal priority, 5.2 ms at niceness 10, 5.9 ms with SCHED_IDLE, 7.1
    ms with SCHED_BATCH.
    """

    def __init__(self) -> None:
        self._mine = threading.local()

    def do(self, size_bytes: int, work: Callable[[], T]) -> T:
        """Do ``work`` on a model of so many bytes; return what it returns, or raise what it raises.

        For a small model that is done at once, where we are: a thread would cost more than it helps.
        """
        if size_bytes < _LARGE_BYTES:
            return work()
        if not hasattr(self._mine, "companion"):
            self._mine.companion = _Companion()
        outcome: Future[T] = Future()
        self._mine.companion.errands.put((work, outcome))
        try:
            return outcome.result()
        finally:
            del outcome  # an error would keep itself alive through it, and the session with it


class _Companion:
    """A thread that ends when nobody knows of this any more."""

    def __init__(self) -> None:
        self.errands: _Errands = SimpleQueue()
        threading.Thread(target=_serve, args=(self.errands,), name="shoal-quiet", daemon=True).start()
        weakref.finalize(self, self.errands.put, None)


def _serve(errands: _Errands) -> None:
    _step_back()
    while (errand := errands.get()) is not None:
        work, outcome = errand
        try:
            outcome.set_result(work())
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is the caller's
            outcome.set_exception(error)
        del errand, work, outcome  # a thread that waits must not keep a session in memory


def _step_back() -> None:
    if sys.platform == "linux":  # elsewhere that would be the whole process
        thread = threading.get_native_id()
        with suppress(OSError):  # a sandbox may forbid it
            os.setpriority(os.PRIO_PROCESS, thread, min(os.getpriority(os.PRIO_PROCESS, thread) + _STEPS, _LOWEST))
