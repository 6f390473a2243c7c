"""One process's share of a load: calls over grpc.aio, counted where they end.

An open loop sends when the schedule says, whether or not earlier calls have ended, and measures from then. So what a
server that stalls makes callers wait is in the latencies of all who meant to call meanwhile.
"""

import asyncio
import random
import time
from bisect import bisect
from collections.abc import Callable, Coroutine
from contextlib import suppress
from itertools import accumulate, islice
from typing import Any, Final

import grpc
import grpc.aio

from shoal_bench.arrivals import offsets
from shoal_bench.order import Closed, Order, Payload
from shoal_bench.pacer import Pacer
from shoal_bench.secure import aio_channel
from shoal_bench.tally import ABANDONED, NOT_SENT, Tally

_MOST_UNDER_WAY: Final = 20_000  # about 200 MB of calls in grpcio
_TICK_S: Final = 0.01
_PAUSE_S: Final = 0.02  # a closed loop's, after a connection that failed: those who are refused at once do not spin
_LEAST_S: Final = 0.001

CHANNEL_OPTIONS: Final = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
    # A server that comes back is found again at once, instead of after a pause that grows.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)


class Caller:
    """The share ``index`` of ``count`` of an order's load. Lives on one event loop, for one run."""

    def __init__(self, order: Order, index: int, count: int) -> None:
        self._order = order
        self._index = index
        self._count = count
        self._random = random.Random(f"{order.seed}/{index}")  # noqa: S311 - repeatable is what it has to be
        self._bounds = list(accumulate(payload.weight for payload in order.payloads))
        self._tell_apart = len({payload.model for payload in order.payloads}) > 1
        self._channel = aio_channel(order.target, order.tls, CHANNEL_OPTIONS)
        self._method: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(order.method)
        self._under_way: set[asyncio.Task[None]] = set()
        self._broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._stopping = False
        self._tally = Tally()
        self._since_s = 0.0
        self._cpu_s = 0.0

    async def connect(self) -> None:
        """Open the connection, so that no call pays for it; a target that is not there shows itself in the calls."""
        with suppress(TimeoutError):
            async with asyncio.timeout(min(self._order.timeout_s, 5.0)):
                await self._channel.channel_ready()

    async def run(self, start_s: float, stop: asyncio.Event, window: Callable[[Tally], None]) -> Tally:
        """Call from ``start_s`` (monotonic) on until ``stop``; hand over each window's tally, and return the rest.

        The first window is the warm-up.

        Raises:
            Exception: something here is broken, which says nothing of the server.
        """
        self._since_s, self._cpu_s = start_s, time.process_time()
        helpers = [asyncio.create_task(self._send(start_s)), asyncio.create_task(self._windows(start_s, window))]
        if isinstance(self._order.load, Closed):
            helpers.append(asyncio.create_task(self._watch_the_loop()))
        stopping = asyncio.create_task(stop.wait())
        try:
            ends: list[asyncio.Future[Any]] = [self._broken, *helpers]
            await asyncio.wait([stopping, *ends], return_when=asyncio.FIRST_COMPLETED)
            for ended in ends:
                if ended.done():
                    ended.result()
        finally:
            self._stopping = True
            for task in (stopping, *helpers):
                task.cancel()
            await asyncio.gather(stopping, *helpers, return_exceptions=True)
            await self._drain()
        return self._taken()

    async def _drain(self) -> None:
        """Wait for the calls under way, and count those that stay away."""
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=self._order.drain_s)
        left = list(self._under_way)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await self._channel.close()

    async def _send(self, start_s: float) -> None:
        load = self._order.load
        with Pacer() as pacer:
            if isinstance(load, Closed):
                await pacer.until(start_s)
                share, rest = divmod(load.concurrency, self._count)
                for _ in range(share + (self._index < rest)):
                    self._spawn(self._in_turn())
            else:
                for offset_s in islice(offsets(load, self._order.seed), self._index, None, self._count):
                    intended_s = start_s + offset_s
                    await pacer.until(intended_s)
                    self._tally.lateness.record(time.monotonic() - intended_s)
                    if len(self._under_way) >= _MOST_UNDER_WAY:
                        self._tally.statuses[NOT_SENT] += 1
                    else:
                        self._spawn(self._call(self._choose(), intended_s))
                    if time.monotonic() - intended_s > _TICK_S:
                        await asyncio.sleep(0)  # behind the schedule, the answers must still be seen
            await asyncio.get_running_loop().create_future()  # until it is stopped

    def _spawn(self, coroutine: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._under_way.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not self._broken.done():
            self._broken.set_exception(error)

    async def _in_turn(self) -> None:
        while not self._stopping:
            began = self._tally.statuses["UNAVAILABLE"]
            await self._call(self._choose(), time.monotonic())
            if self._tally.statuses["UNAVAILABLE"] > began:
                await asyncio.sleep(_PAUSE_S)

    async def _call(self, payload: Payload, intended_s: float) -> None:
        order = self._order
        left_s = max(intended_s + order.timeout_s - time.monotonic(), _LEAST_S)
        try:
            await self._method(payload.message, timeout=left_s)
        except grpc.aio.AioRpcError as error:
            self._tally.failed(error.code().name, time.monotonic() - intended_s, error.details() or "")
        except asyncio.CancelledError:
            self._tally.failed(ABANDONED, time.monotonic() - intended_s, "the run ended first")
            raise
        else:
            model = payload.model if self._tell_apart else None
            self._tally.succeeded(time.monotonic() - intended_s, order.in_time_s, model)

    def _choose(self) -> Payload:
        payloads = self._order.payloads
        if len(payloads) == 1:
            return payloads[0]
        return payloads[min(bisect(self._bounds, self._random.random() * self._bounds[-1]), len(payloads) - 1)]

    async def _windows(self, start_s: float, window: Callable[[Tally], None]) -> None:
        at_s = start_s + self._order.warm_up_s
        with Pacer() as pacer:
            while True:
                await pacer.until(at_s)
                window(self._taken())
                at_s += self._order.window_s

    async def _watch_the_loop(self) -> None:
        """Measure how long whatever is due waits for the loop, as an answer that has come does."""
        with Pacer() as pacer:
            while True:
                due_s = time.monotonic() + _TICK_S
                await pacer.until(due_s)
                self._tally.lateness.record(time.monotonic() - due_s)

    def _taken(self) -> Tally:
        tally, self._tally = self._tally, Tally()
        now_s, cpu_s = time.monotonic(), time.process_time()
        tally.duration_s = max(now_s - self._since_s, 0.0)
        tally.generator_cpu_s = cpu_s - self._cpu_s
        self._since_s, self._cpu_s = now_s, cpu_s
        return tally
