"""The engine in native code: the load generator of the crate `shoal-native`, one thread outside the GIL.

It keeps a server busier than any number of client processes in Python would on the same cores. The schedule, and so
what is sent when, is that of the Python engine; it is fed half a second ahead.
"""

import queue
import random
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, takewhile
from typing import Any, Final
from urllib.parse import unquote

import grpc
from shoal_native import LoadGenerator

from shoal_bench.arrivals import offsets
from shoal_bench.histogram import Durations
from shoal_bench.order import Closed, EngineError, Order
from shoal_bench.tally import ABANDONED, NOT_SENT, OK, SAMPLE_CHARACTERS, Tally

_AHEAD_S: Final = 0.5
_FEED_EACH_S: Final = 0.05
_LOOK_EACH_S: Final = 0.2
_GRACE_S: Final = 15.0
_TURNS: Final = 4096
_MOST_UNDER_WAY: Final = 50_000
_CALLERS_PER_CONNECTION: Final = 128
_CONNECTIONS: Final = 4  # of an open loop: one flow-control window is not everybody's
_WINDOWS_KEPT: Final = 1024
_STATUSES: Final[Mapping[int, str]] = {code.value[0]: code.name for code in grpc.StatusCode}


class NativeEngine:
    """Runs each order on one native thread."""

    name = "native"

    def senders(self, order: Order) -> int:  # noqa: ARG002 - it is one, whatever the order says
        """How many threads send; see ``Engine``."""
        return 1

    @contextmanager
    def start(self, order: Order) -> Iterator["RunningThread"]:
        """Start the load; see ``Engine``."""
        running = RunningThread(order, _generator(order))
        running.begin()
        try:
            yield running
        finally:
            running.end()


class RunningThread:
    """A load that runs; see ``Running``. One thread is the load's, one feeds it and takes what it counted."""

    def __init__(self, order: Order, generator: LoadGenerator) -> None:
        self._order = order
        self._generator = generator
        self._models = _models(order)
        self._load = threading.Thread(target=self._run, name="load", daemon=True)
        self._keeper = threading.Thread(target=self._keep, name="load-keeper", daemon=True)
        self._windows: queue.Queue[Tally] = queue.Queue(_WINDOWS_KEPT)
        self._leaving, self._left = threading.Event(), threading.Event()
        self._over = threading.Event()
        self._halted = False
        self._error = ""
        self._final_cpu_s: float | None = None
        self._since_s, self._cpu_s = 0.0, 0.0

    def begin(self) -> None:
        """Let it begin as soon as it has connected."""
        self._load.start()
        self._keeper.start()

    def halt(self) -> None:
        """Let ``windows`` end; see ``Running``."""
        self._halted = True

    def windows(self) -> Iterator[Tally]:
        """Yield the windows; see ``Running``."""
        while not self._halted:
            try:
                yield self._windows.get(timeout=_LOOK_EACH_S)
            except queue.Empty:
                if not self._keeper.is_alive():
                    raise EngineError(self._error or "the native generator ended by itself") from None

    def stop(self) -> Tally:
        """End the load; see ``Running``."""
        self.end()
        if self._error:
            raise EngineError(self._error)
        whole = Tally()
        while not self._windows.empty():
            whole.then(self._windows.get())
        whole.then(self._taken())
        return whole

    def end(self) -> None:
        """End it, if it has not ended."""
        self._generator.stop()
        self._leaving.set()
        self._keeper.join(_GRACE_S)
        self._left.set()
        self._load.join(self._order.drain_s + _GRACE_S)
        if self._load.is_alive():
            self._error = "the native generator did not end"

    def _run(self) -> None:
        try:
            self._generator.run()
        except OSError as error:
            self._error = f"the native generator failed: {error}"
        self._final_cpu_s = time.thread_time()
        self._over.set()
        self._left.wait()  # who asks for this thread's CPU time needs it to be there

    def _keep(self) -> None:
        """Feed the load, and take each window when its time is over."""
        order = self._order
        due_s = iter(()) if isinstance(order.load, Closed) else offsets(order.load, order.seed)
        at_s = order.warm_up_s
        while not (self._leaving.is_set() or self._over.is_set()):
            elapsed_s = self._generator.elapsed_s()
            due_s = self._feed(due_s, (elapsed_s or 0.0) + _AHEAD_S)
            if elapsed_s is not None and elapsed_s >= at_s:
                self._windows.put(self._taken())
                at_s += order.window_s
            wait_s = _FEED_EACH_S if elapsed_s is None else min(at_s - elapsed_s, _FEED_EACH_S)
            self._leaving.wait(max(wait_s, 0.0))

    def _feed(self, due_s: Iterator[float], until_s: float) -> Iterator[float]:
        """Hand over what is due until then, and return the rest."""
        rest: list[float] = []

        def soon(at_s: float) -> bool:
            if at_s <= until_s:
                return True
            rest.append(at_s)
            return False

        if batch := list(takewhile(soon, due_s)):
            self._generator.feed(batch)
        return chain(rest, due_s) if rest else due_s

    def _taken(self) -> Tally:
        elapsed_s, cpu_s = self._generator.elapsed_s() or 0.0, self._thread_cpu_s()
        tally = _tally(self._generator.take(), self._models)
        tally.duration_s, self._since_s = elapsed_s - self._since_s, elapsed_s
        tally.generator_cpu_s, self._cpu_s = cpu_s - self._cpu_s, cpu_s
        return tally

    def _thread_cpu_s(self) -> float:
        if self._final_cpu_s is not None:
            return self._final_cpu_s
        assert self._load.ident is not None, "it was started"
        return time.clock_gettime(time.pthread_getcpuclockid(self._load.ident))


def _generator(order: Order) -> LoadGenerator:
    models = _models(order)
    payloads = order.payloads
    if not payloads:
        raise EngineError("the native generator refuses the order: there is nothing to send")
    closed = order.load.concurrency if isinstance(order.load, Closed) else None
    turns = random.Random(order.seed).choices(  # noqa: S311 - repeatable is what it has to be
        range(len(payloads)), [payload.weight for payload in payloads], k=_TURNS
    )
    tls = order.tls
    try:
        return LoadGenerator(
            order.target,
            order.method,
            [payload.message for payload in payloads],
            models=[models.index(payload.model) for payload in payloads],
            turns=turns,
            callers=closed,
            connections=_CONNECTIONS if closed is None else -(-closed // _CALLERS_PER_CONNECTION),
            most_under_way=_MOST_UNDER_WAY,
            timeout_s=order.timeout_s,
            in_time_s=order.in_time_s,
            drain_s=order.drain_s,
            tls=None if tls is None else (tls.ca, tls.certificate, tls.key, tls.name_at(order.target)),
        )
    except ValueError as error:
        raise EngineError(f"the native generator refuses the order: {error}") from error


def _models(order: Order) -> Sequence[str]:
    return tuple(dict.fromkeys(payload.model for payload in order.payloads))


def _tally(taken: Mapping[str, Any], models: Sequence[str]) -> Tally:
    tally = Tally(in_time=taken["in_time"])
    counts = {_STATUSES[number]: times for number, times in enumerate(taken["statuses"])}
    counts |= {NOT_SENT: taken["not_sent"], ABANDONED: taken["abandoned"]}
    tally.statuses.update({name: times for name, times in counts.items() if times})
    for model, pairs in zip(models, taken["latencies"], strict=True):
        latencies = _durations(pairs)
        tally.latencies.add(latencies)
        if len(models) > 1 and latencies.count:
            tally.by_model[model] = latencies
    tally.failures = _durations(taken["failures"])
    tally.refusals = _durations(taken["refusals"])
    tally.lateness = _durations(taken["lateness"])
    tally.samples = {
        _STATUSES[number]: unquote(text)[:SAMPLE_CHARACTERS]
        for number, text in taken["samples"].items()
        if _STATUSES[number] != OK
    }
    return tally


def _durations(pairs: Sequence[tuple[int, int]]) -> Durations:
    durations = Durations()
    for duration_us, times in pairs:
        durations.record_us(duration_us, times)
    return durations
