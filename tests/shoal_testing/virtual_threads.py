"""Threads that take turns with a virtual loop: real threads for the code on them, one at a time and on virtual time.

While such a thread runs, the loop stands still; where it calls ``pause``, the loop goes on, and the thread continues
when its time has come. So code that runs beside the loop is interleaved with it exactly where a test pauses it, and a
run is the same each time.
"""

import math
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final, TypeAlias

from shoal_testing.virtual_time import VirtualTimeLoop

if TYPE_CHECKING:
    from asyncio import TimerHandle

FOR_EVER: Final = math.inf

_Baton: TypeAlias = "SimpleQueue[None]"
"""What one thread waits for and another hands over.

A lock would do, but whenever the loop waits for one, blockbuster looks through all calls under way, up to pytest's own,
whether it may: a seventh of the time of all simulations.
"""


class Released(BaseException):
    """Ends a thread that would have paused for ever, when the test is over."""


class VirtualThread:
    """One piece of work on a thread. ``wake`` ends a pause early; on the loop only."""

    def __init__(self, threads: "VirtualThreads", work: Callable[[], object], ended: Callable[[], None]) -> None:
        self._threads = threads
        self.work = work
        self.ended = ended
        self.worker: _Worker | None = None
        self.pause_s = 0.0
        self.timer: TimerHandle | None = None
        self.woken = False
        self.over = False
        self.error: BaseException | None = None

    def wake(self) -> None:
        """End the pause that the thread is in; nothing where it is over."""
        if not self.over and not self.woken:
            self.woken = True
            if self.timer is not None:
                self.timer.cancel()
            self._threads.resume_soon(self)


class _Worker:
    """A real thread, used for one piece of work after the other: to start one takes longer than most of the work."""

    def __init__(self, back: _Baton, here: threading.local) -> None:
        self.go: _Baton = SimpleQueue()
        self.thread: VirtualThread | None = None
        self._back = back
        self._here = here
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            self.go.get()
            thread = self._here.thread = self.thread
            if thread is None:
                return
            try:
                thread.work()
            except Released:
                pass
            except BaseException as error:  # noqa: BLE001 - the loop raises it
                thread.error = error
            thread.over = True
            self._back.put(None)


class VirtualThreads:
    """All virtual threads of one test; ``close`` ends those that are still there."""

    def __init__(self, loop: VirtualTimeLoop) -> None:
        self.loop = loop
        self._back: _Baton = SimpleQueue()
        self._here = threading.local()
        self._alive: dict[VirtualThread, None] = {}
        self._idle: list[_Worker] = []
        self._closing = False

    @property
    def paused_for_ever(self) -> int:
        """How many threads only ``wake`` or ``close`` can bring back."""
        return sum(thread.pause_s == FOR_EVER and not thread.woken for thread in self._alive)

    @property
    def alive(self) -> int:
        """How many threads have not ended."""
        return len(self._alive)

    def start(self, work: Callable[[], object], ended: Callable[[], None], *, after_s: float = 0.0) -> VirtualThread:
        """Call ``work`` on a thread in ``after_s`` seconds, and ``ended`` on the loop in the step in which it ends."""
        thread = VirtualThread(self, work, ended)
        self._alive[thread] = None
        thread.timer = self.loop.call_later(after_s, self._turn, thread)
        return thread

    def current(self) -> VirtualThread | None:
        """Return the virtual thread that calls, None on the loop."""
        thread: VirtualThread | None = getattr(self._here, "thread", None)
        return thread

    def pause(self, pause_s: float) -> bool:
        """Let the loop go on for that long; return whether ``wake`` ended it early. On the loop, do nothing."""
        thread = self.current()
        if thread is None:
            return False
        assert thread.worker is not None
        thread.pause_s = pause_s
        thread.woken = False
        self._back.put(None)
        thread.worker.go.get()
        if self._closing:
            raise Released
        return thread.woken

    def resume_soon(self, thread: VirtualThread) -> None:
        """Give the thread its turn at this instant."""
        self.loop.call_soon(self._turn, thread)

    def close(self) -> None:
        """End every thread that is left."""
        self._closing = True
        for thread in self._alive:
            if thread.worker is not None:
                thread.worker.go.put(None)
                self._back.get()
                self._idle.append(thread.worker)
        self._alive.clear()
        for worker in self._idle:
            worker.thread = None
            worker.go.put(None)

    def _turn(self, thread: VirtualThread) -> None:
        if self._closing:
            return
        if thread.worker is None:
            thread.worker = self._idle.pop() if self._idle else _Worker(self._back, self._here)
            thread.worker.thread = thread
        thread.timer = None
        thread.worker.go.put(None)
        self._back.get()
        if thread.over:
            del self._alive[thread]
            self._idle.append(thread.worker)
            if thread.error is not None:
                raise thread.error
            thread.ended()
        elif thread.pause_s != FOR_EVER:
            thread.timer = self.loop.call_later(thread.pause_s, self._turn, thread)
