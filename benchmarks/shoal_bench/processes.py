"""The engine in Python: several client processes that start together, since one is worth a few thousand calls a second.

Each is spawned, not forked (gRPC survives no fork), connects, says so, and waits for the common start. Its windows come
over a pipe and are added up here.
"""

import asyncio
import multiprocessing
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any, Final

from shoal_bench.caller import Caller
from shoal_bench.order import EngineError, Order
from shoal_bench.tally import Tally

_CONNECTED_WITHIN_S: Final = 60.0  # a process takes 0.5 s to start, and many where the machine is busy
_START_AFTER_S: Final = 0.1
_GRACE_S: Final = 15.0
_LOOK_EACH_S: Final = 0.2


class ProcessEngine:
    """Runs each order in processes of its own."""

    name = "python"

    def senders(self, order: Order) -> int:
        """How many processes send; see ``Engine``."""
        return order.processes

    @contextmanager
    def start(self, order: Order) -> Iterator["RunningProcesses"]:
        """Start the load; see ``Engine``."""
        context = multiprocessing.get_context("spawn")
        workers: list[_Worker] = []
        try:
            for index in range(order.processes):
                workers.append(_started(context, order, index))  # noqa: PERF401 - those started so far must be known
            for worker in workers:
                _answer(worker, _CONNECTED_WITHIN_S)
            running = RunningProcesses(order, workers)
            running.begin()
            yield running
        finally:
            for worker in workers:
                worker.end()


@dataclass(frozen=True, slots=True)
class _Worker:
    process: SpawnProcess
    pipe: "Connection[Any, Any]"

    def end(self) -> None:
        """End it, if it has not ended: a closed pipe tells it to, and it is killed where it does not listen."""
        self.pipe.close()
        self.process.join(1.0)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.process.close()


class RunningProcesses:
    """A load that runs; see ``Running``."""

    def __init__(self, order: Order, workers: list[_Worker]) -> None:
        self._order = order
        self._workers = workers
        # What has come of a window for which others are still waited for.
        self._partial: list[Tally | None] = [None] * len(workers)
        self._halted = False

    def begin(self) -> None:
        """Let all begin at the same moment."""
        start_s = time.monotonic() + _START_AFTER_S
        for worker in self._workers:
            worker.pipe.send(start_s)

    def halt(self) -> None:
        """Let ``windows`` end; see ``Running``."""
        self._halted = True

    def windows(self) -> Iterator[Tally]:
        """Yield the windows; see ``Running``."""
        limit_s = self._order.warm_up_s
        while True:
            for index, worker in enumerate(self._workers):
                silent_from_s = time.monotonic() + limit_s + _GRACE_S
                while not _has_come(worker, _LOOK_EACH_S):
                    if self._halted:
                        return
                    if time.monotonic() > silent_from_s:
                        raise EngineError(f"the client process {worker.process.name} says nothing")
                self._partial[index] = Tally.from_json(_answer(worker, _GRACE_S))
            whole = _merged(self._partial)
            self._partial = [None] * len(self._workers)
            yield whole
            limit_s = self._order.window_s

    def stop(self) -> Tally:
        """End the load; see ``Running``."""
        for worker in self._workers:
            worker.pipe.send("stop")
        shares: list[Tally | None] = list(self._partial)
        for index, worker in enumerate(self._workers):
            while (message := _answer(worker, self._order.drain_s + _GRACE_S)) is not None:
                tally = Tally.from_json(message)
                share = shares[index]
                if share is not None:
                    share.then(tally)
                else:
                    shares[index] = tally
        return _merged(shares)


def _merged(shares: "list[Tally | None]") -> Tally:
    whole = Tally()
    for share in shares:
        if share is not None:
            whole.beside(share)
    return whole


def _started(context: SpawnContext, order: Order, index: int) -> _Worker:
    ours, theirs = context.Pipe()
    process = context.Process(target=work, args=(order, index, theirs), daemon=True, name=f"load-{index}")
    process.start()
    theirs.close()
    return _Worker(process, ours)


def _has_come(worker: _Worker, within_s: float) -> bool:
    try:
        return worker.pipe.poll(within_s)
    except OSError:
        return True  # and `_answer` will say what


def _answer(worker: _Worker, limit_s: float) -> Any:  # noqa: ANN401 - what a pipe carries
    if not _has_come(worker, limit_s):
        raise EngineError(f"the client process {worker.process.name} said nothing for {limit_s:.0f} s")
    try:
        message = worker.pipe.recv()
    except (EOFError, OSError):
        worker.process.join(1.0)
        raise EngineError(
            f"the client process {worker.process.name} ended with {worker.process.exitcode}; what it wrote says why"
        ) from None
    return message


def work(order: Order, index: int, pipe: "Connection[Any, Any]") -> None:
    """Be one client process."""
    # Ctrl-C reaches all processes of a terminal; the first of them stops the others in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Who gave the order may have left, by Ctrl-C before the start or by force: then nobody needs the rest.
    with suppress(BrokenPipeError, ConnectionResetError, EOFError):
        _run(order, index, pipe)


def _run(order: Order, index: int, pipe: "Connection[Any, Any]") -> None:
    if sys.platform != "win32" and (loop_factory := _uvloop()) is not None:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(_work(order, index, pipe))
    else:
        asyncio.run(_work(order, index, pipe))


def _uvloop() -> Any:  # noqa: ANN401 - a factory of a package that may be missing
    try:
        import uvloop  # noqa: PLC0415 - faster by a third where it is installed
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _work(order: Order, index: int, pipe: "Connection[Any, Any]") -> None:
    caller = Caller(order, index, order.processes)
    await caller.connect()
    pipe.send("connected")
    loop = asyncio.get_running_loop()
    start_s = await loop.run_in_executor(None, pipe.recv)
    stop = asyncio.Event()
    # Whatever comes next means the end, be it the word or the end of the pipe.
    loop.add_reader(pipe.fileno(), stop.set)
    tail = await caller.run(start_s, stop, lambda tally: pipe.send(tally.to_json()))
    loop.remove_reader(pipe.fileno())
    pipe.send(tail.to_json())
    pipe.send(None)
