"""Runs of our own, at load: ended after a while, or never."""

import threading
import time
from collections import deque
from types import TracebackType
from typing import Self

from shoal_server.lifecycle.ports import Interrupt


class TimeLimit:
    """Ends the run that is under way when the time is up, and every later one at once. A context manager."""

    def __init__(self, due_s: float) -> None:
        self.due_s = due_s
        self.over = False
        self.closed = False
        self._lock = threading.Lock()
        self._interrupt: Interrupt | None = None

    def on_stop(self, interrupt: Interrupt) -> None:
        """Take what ends the next run."""
        with self._lock:
            self._interrupt = interrupt
            if self.over:
                interrupt()

    def end(self) -> None:
        """Say that the time is up."""
        with self._lock:
            self.over = True
            if self._interrupt is not None:
                self._interrupt()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.closed = True
        self._interrupt = None


class Watchdog:
    """Ends what takes longer than ``limit_s``. Its thread lives only while there may be something to end.

    One thread for all: one for every model that is loaded would take a fifth of a small model's loading time.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._lock = threading.Lock()
        self._watched: deque[TimeLimit] = deque()  # all have the same limit, so they are due in this order
        self._awake = False

    def limit(self) -> TimeLimit:
        """Return a limit that runs from now on."""
        limit = TimeLimit(time.monotonic() + self._limit_s)
        with self._lock:
            self._watched.append(limit)
            starts = not self._awake
            self._awake = True
        if starts:
            threading.Thread(target=self._watch, name="load-watchdog", daemon=True).start()
        return limit

    def _watch(self) -> None:
        never = threading.Event()
        while (limit := self._first()) is not None:
            never.wait(max(0.0, limit.due_s - time.monotonic()))
            if not limit.closed:
                limit.end()

    def _first(self) -> TimeLimit | None:
        with self._lock:
            while self._watched:
                limit = self._watched.popleft()
                if not limit.closed:
                    return limit
            self._awake = False
            return None
