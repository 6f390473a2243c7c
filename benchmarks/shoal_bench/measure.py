"""One run: an order goes to an engine, its windows come back until they agree, the time is up, or something breaks."""

import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Final

from shoal_bench.order import Engine, EngineError, Order, Running
from shoal_bench.result import Ended, Run, Window
from shoal_bench.stability import stable
from shoal_bench.tally import ABANDONED, Tally
from shoal_bench.target import Batches, Target, TargetError
from shoal_bench.watched import WatchedProcess

_UNREACHABLE: Final = "UNAVAILABLE"

Progress = Callable[[int, Window], None]
"""Is told the number and the content of each window, from 1 on; of the warm-up with the number 0."""


class Meter:
    """Looks at the server between windows: its CPU time, its memory, its batches."""

    def __init__(self, target: Target, process: WatchedProcess | None, models: Sequence[str]) -> None:
        self._target = target
        self._process = process
        self._models = models
        self._cpu_s = 0.0
        self._batches: Counter[Batches] | None = Counter()

    def window(self, tally: Tally) -> Window:
        """Add to a window's tally what the server used since the last."""
        window = Window(tally)
        if self._process is not None and self._process.alive:
            cpu_s = self._process.cpu_s()
            window.server_cpu_s, self._cpu_s = cpu_s - self._cpu_s, cpu_s
            window.server_resident_bytes = self._process.resident_bytes()
        if self._batches is not None:
            batches = self._target.batches(self._models)
            if batches is not None:
                window.batches, self._batches = _new(self._batches, batches), batches
        return window


def _new(before: Counter[Batches], now: Counter[Batches]) -> Counter[int] | None:
    """Return the sizes of what was run between; None where a version that counted is gone, or began anew."""
    if any(now[one] < times for one, times in before.items()):
        return None
    sizes: Counter[int] = Counter()
    for one, times in (now - before).items():
        sizes[one.rows] += times
    return sizes


def measure(  # noqa: PLR0913 - the parts of a run
    order: Order,
    engine: Engine,
    target: Target,
    meter: Meter,
    *,
    windows: int,
    tolerance: float | None,
    progress: Progress,
) -> Run:
    """Run the order for at most ``windows`` windows after the warm-up.

    It ends sooner when the last windows agree within ``tolerance`` (None: never), on Ctrl-C, when the server is gone,
    or when the generator fails; the result says which, and holds what was measured until then.
    """
    run = Run(engine.senders(order))
    gone = ""
    try:
        with engine.start(order) as running:
            with _interruptible(running) as interrupted:
                for number, tally in enumerate(running.windows()):
                    window = meter.window(tally)
                    progress(number, window)
                    if number:
                        run.windows.append(window)
                    if _looks_gone(tally) and (gone := _gone(target)):
                        break
                    if tolerance is not None and _agree(run.windows, tolerance):
                        run.ended = Ended.STABLE
                        break
                    if len(run.windows) >= windows:
                        break
            run.tail = running.stop()
            if interrupted.is_set():
                run.ended, run.reason = Ended.INTERRUPTED, "stopped by hand"
    except EngineError as error:
        run.ended, run.reason = Ended.GENERATOR_FAILED, f"the load generator failed: {error}"
    if gone or (run.everything().statuses[_UNREACHABLE] and (gone := _gone(target))):
        run.ended, run.reason = Ended.SERVER_GONE, f"the server stopped in mid-run: {gone}"
    return run


def _agree(windows: Sequence[Window], tolerance: float) -> bool:
    tallies = [window.tally for window in windows]
    throughputs = [tally.throughput for tally in tallies]
    return stable(throughputs, [tally.latencies.percentile_s(0.5) for tally in tallies], tolerance)


def _looks_gone(tally: Tally) -> bool:
    """Return whether nothing but failed connections was seen."""
    return bool(tally.statuses[_UNREACHABLE]) and set(+tally.statuses) <= {_UNREACHABLE, ABANDONED}


def _gone(target: Target) -> str:
    """Return why the server cannot be reached any more; empty where it can."""
    try:
        target.check()
    except TargetError as error:
        return str(error)
    return ""


@contextmanager
def _interruptible(running: Running) -> Iterator[threading.Event]:
    """Let Ctrl-C end the measuring in order; a second one ends the program."""
    interrupted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield interrupted  # signals are not ours there
        return

    def halt(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, before)
        interrupted.set()
        running.halt()

    before = signal.signal(signal.SIGINT, halt)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, before)
