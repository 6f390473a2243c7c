"""An event loop on virtual time: minutes of waiting pass in milliseconds, and a hang is an error instead of a time-out.

Where no task can go on, the clock jumps to the next timer. Where there is no timer either, nothing will ever happen
again: ``Deadlock``. Where the loop turns and turns without the clock moving, something asks to be woken now for ever:
``BusySpin``. Only timers and callbacks count; sockets and real threads are not waited for.
"""

import asyncio
import heapq
import selectors
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import suppress
from contextvars import Context
from itertools import count
from typing import Any, Final, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

START_S: Final = 1000.0  # not zero, so that a zero which means "never" is no time by accident
EPOCH_S: Final = 1_000_000_000.0  # of the wall clock, at the virtual loop's zero
SPIN_LIMIT: Final = 10_000  # turns of the loop at one instant; honest work takes a few dozen


class Deadlock(Exception):
    """Every task is blocked and no timer is pending."""


class BusySpin(Exception):
    """The loop turns without end at one instant."""


class LeftBehind(Exception):
    """The main coroutine ended and other tasks had not."""


class _JumpingSelector(selectors.SelectSelector):
    """Never sleeps: tells the loop how long it would have slept."""

    slept: Callable[[float | None], None]

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            self.slept(timeout)
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """See the module. An exception that nobody catches in a callback ends the run, unless another handler is set.

    ``tick_s`` rounds timers to multiples of it, as loops with coarse timers do, so that they fire a little early or
    late; ``turn_s`` is then what one turn of the loop takes.
    """

    def __init__(self, *, tick_s: float = 0.0, turn_s: float = 0.0) -> None:
        selector = _JumpingSelector()
        self._now = START_S
        self._tick_s = tick_s
        self._turn_s = turn_s
        self._turns = 0
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._sequence = count()
        self._uncaught: BaseException | None = None
        self.before_jump: list[Callable[[], None]] = []
        """Called where nothing more can happen at this instant: what holds then, holds until the clock moves."""
        super().__init__(selector)
        selector.slept = self._slept
        self.set_exception_handler(self._fail)

    def time(self) -> float:
        return self._now

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = super().call_at(when, callback, *args, context=context)
        heapq.heappush(self._timers, (when, next(self._sequence), handle))
        return handle

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        if self._tick_s:
            delay = round(delay / self._tick_s) * self._tick_s
        return self.call_at(self._now + delay, callback, *args, context=context)

    def advance(self, seconds: float) -> None:
        """Have that much time pass while the loop is busy: on it, within a callback."""
        self._now += seconds

    def timers(self) -> list[asyncio.TimerHandle]:
        """Return the timers that are still to come, the next first."""
        return [handle for when, _, handle in sorted(self._timers) if when > self._now and not handle.cancelled()]

    def _slept(self, timeout: float | None) -> None:
        if self._uncaught is not None:
            raise self._uncaught
        if timeout is not None and timeout <= 0:
            self._turns += 1
            self._now += self._turn_s
            if self._turns > SPIN_LIMIT:
                raise BusySpin(f"{SPIN_LIMIT} turns of the loop at one instant; {_described(asyncio.all_tasks(self))}")
            return
        for check in self.before_jump:
            check()
        timers = self._timers
        while timers and (timers[0][0] <= self._now or timers[0][2].cancelled()):
            heapq.heappop(timers)
        if timeout is None:
            raise Deadlock(f"nothing can happen any more; {_described(asyncio.all_tasks(self))}")
        self._turns = 0
        # Exactly there: a sum of differences would be off by a rounding error, and a timer would fire before its time.
        self._now = timers[0][0] if timers else self._now + timeout

    def _fail(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if self._uncaught is None:
            self._uncaught = context.get("exception") or RuntimeError(context["message"])


class VirtualClock:
    """The loop's time as a ``Clock``; readable from any thread."""

    def __init__(self, loop: VirtualTimeLoop) -> None:
        self.monotonic = loop.time

    def epoch(self) -> float:
        return EPOCH_S + self.monotonic()


def virtual_loop() -> VirtualTimeLoop:
    """Return the virtual loop that is running."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop), "only under run_virtual"
    return loop


def run_virtual(main: Coroutine[Any, Any, T], seed: int = 0, *, loop: VirtualTimeLoop | None = None) -> T:
    """Run a coroutine on virtual time; what fails carries the seed and the time as a note.

    Raises:
        Deadlock: nothing can happen any more.
        BusySpin: the loop turns without end at one instant.
        LeftBehind: a task was still there when the coroutine ended.
    """
    virtual = loop or VirtualTimeLoop()
    runner = asyncio.Runner(loop_factory=lambda: virtual)
    try:
        result = runner.run(_alone(main))
    except BaseException as error:
        error.add_note(f"seed {seed}, {virtual.time() - START_S:.6f} s after the start of virtual time")
        with suppress(Exception):  # what is left may hang once more
            runner.close()
        raise
    runner.close()
    return result


async def _alone(main: Coroutine[Any, Any, T]) -> T:
    result = await main
    await asyncio.sleep(0)  # what was just resolved may end
    left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    if left:
        raise LeftBehind(_described(left))
    return result


def _described(tasks: Iterable[asyncio.Task[Any]]) -> str:
    lines = sorted(f"{task.get_name()}: {' > '.join(_awaited(task.get_coro()))}" for task in tasks)
    return "\n  ".join([f"{len(lines)} tasks wait:", *lines])


def _awaited(coroutine: object) -> Iterator[str]:
    """Yield the place of each coroutine on the way down to where the task waits."""
    while (frame := getattr(coroutine, "cr_frame", None)) is not None:
        yield f"{frame.f_code.co_qualname} line {frame.f_lineno}"
        coroutine = getattr(coroutine, "cr_await", None)
