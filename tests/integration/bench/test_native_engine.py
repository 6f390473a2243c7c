"""The native load generator as an engine: it counts and measures as the one in Python does."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import islice

import pytest

from shoal_bench.arrivals import Constant, Poisson, Trace
from shoal_bench.engines import engine_named
from shoal_bench.order import Closed, EngineError, Load, Order, Payload
from shoal_bench.secure import Tls
from shoal_bench.tally import ABANDONED, OK, Tally
from shoal_testing.echoing import INFER, EchoingServer

pytest.importorskip("shoal_native", reason="the native load generator is not built here")

STALL_S = 1.0
RATE = 100.0
ONE = (Payload(b"x", "m", 1.0),)


def order(target: str, load: Load, **changes: object) -> Order:
    usual: dict[str, object] = {
        "payloads": ONE,
        "processes": 1,
        "seed": 0,
        "timeout_s": 5.0,
        "in_time_s": 0.1,
        "warm_up_s": 0.0,
        "window_s": 0.5,
        "drain_s": 5.0,
    }
    return Order(target=target, method=INFER, load=load, **(usual | changes))  # type: ignore[arg-type]


def carried_out(wanted: Order, windows: int) -> list[Tally]:
    """Return the warm-up, so many windows, and the tail."""
    with engine_named("native").start(wanted) as running:
        seen = list(islice(running.windows(), windows + 1))
        return [*seen, running.stop()]


async def whole(server: EchoingServer, load: Load, windows: int, **changes: object) -> Tally:
    sum_of = Tally()
    for tally in await asyncio.to_thread(carried_out, order(server.address, load, **changes), windows):
        sum_of.then(tally)
    return sum_of


@asynccontextmanager
async def echoing() -> AsyncIterator[EchoingServer]:
    server = EchoingServer()
    async with server.running():
        yield server


def test_an_open_loop_does_not_hide_that_the_server_stalled_for_a_second() -> None:
    async def run() -> Tally:
        async with echoing() as server:
            server.on_call = lambda number: server.stall(STALL_S) if number == 30 else None
            return await whole(server, Constant(RATE), windows=4)

    tally = asyncio.run(run())
    assert set(tally.statuses) == {OK}
    assert tally.statuses[OK] >= 190, "who meant to call while it stalled did call"
    assert tally.latencies.max_s >= 0.98 * STALL_S
    assert tally.latencies.percentile_s(0.76) >= 0.4
    assert tally.in_time <= tally.statuses[OK] - 85, "and none of those calls is goodput"
    assert tally.lateness.count >= tally.statuses[OK], "of each call it is known how late it was sent"


def test_a_trace_is_played_whole_and_once() -> None:
    async def run() -> Tally:
        async with echoing() as server:
            return await whole(server, Trace(tuple(number / 200 for number in range(60))), windows=1)

    tally = asyncio.run(run())
    assert tally.statuses == {OK: 60}


def test_a_closed_loop_has_as_many_calls_under_way_as_callers() -> None:
    callers = 5
    all_there = threading.Event()

    def held(target: str) -> Tally:
        with engine_named("native").start(order(target, Closed(callers), timeout_s=60.0, drain_s=0.2)) as running:
            assert all_there.wait(15), "so many never came"
            return running.stop()

    async def run() -> tuple[Tally, int]:
        async with echoing() as server:

            def seen(number: int) -> None:
                if number == 1:
                    server.stall(60.0)
                if number == callers:
                    all_there.set()

            server.on_call = seen
            return await asyncio.to_thread(held, server.address), server.calls

    tally, calls = asyncio.run(run())
    assert calls == callers
    assert tally.statuses == {ABANDONED: callers}


def test_payloads_are_sent_by_their_weights_and_models_are_told_apart() -> None:
    payloads = (Payload(b"x", "often", 9.0), Payload(b"yy", "seldom", 1.0))

    async def run() -> Tally:
        async with echoing() as server:
            return await whole(server, Constant(500), windows=1, payloads=payloads)

    tally = asyncio.run(run())
    often, seldom = (tally.by_model[model].count for model in ("often", "seldom"))
    assert often + seldom == tally.statuses[OK]
    assert 4 * seldom < often


def test_calls_that_wait_longer_than_their_deadline_are_counted_as_such() -> None:
    async def run() -> Tally:
        async with echoing() as server:
            server.on_call = lambda number: server.stall(STALL_S) if number == 10 else None
            return await whole(server, Constant(RATE), windows=1, timeout_s=0.2)

    tally = asyncio.run(run())
    assert set(tally.statuses) <= {OK, "DEADLINE_EXCEEDED"}
    assert tally.statuses["DEADLINE_EXCEEDED"] >= 20
    assert tally.failures.percentile_s(0.5) >= 0.19
    assert tally.samples["DEADLINE_EXCEEDED"]


def test_calls_to_nobody_are_counted_and_nothing_is_broken() -> None:
    async def run() -> Tally:
        async with echoing() as server:
            pass
        return await whole(server, Poisson(RATE), windows=1)

    tally = asyncio.run(run())
    assert set(tally.statuses) == {"UNAVAILABLE"}
    assert "refused" in tally.samples["UNAVAILABLE"]


def test_a_connection_that_is_lost_is_opened_again() -> None:
    async def run() -> list[Tally]:
        first = EchoingServer()
        async with first.running():
            running = asyncio.create_task(
                asyncio.to_thread(carried_out, order(first.address, Constant(200), window_s=0.5), 4)
            )
            await reached(first)
        second = EchoingServer(first.address)
        async with second.running():
            return await running

    tallies = asyncio.run(run())
    assert tallies[-2].statuses[OK] > 0, "the last window is the second server's"
    assert sum(tally.statuses["UNAVAILABLE"] for tally in tallies) > 0


async def reached(server: EchoingServer) -> None:
    called = asyncio.Event()
    server.on_call = lambda _number: called.set()
    await called.wait()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [({"tls": Tls(b"no PEM", b"none", b"none")}, "failed"), ({"payloads": ()}, "refuses the order")],
    ids=["no certificates", "nothing to send"],
)
def test_an_order_that_cannot_be_carried_out_is_a_failure_of_the_generator(
    wrong: dict[str, object], words: str
) -> None:
    with pytest.raises(EngineError, match=words):
        carried_out(order("127.0.0.1:1", Closed(1), **wrong), windows=1)
