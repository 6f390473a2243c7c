"""What a server that stops for a second makes callers wait: an open loop tells it, a closed loop hides most of it."""

import asyncio
import multiprocessing
import time

import pytest

from shoal_bench.arrivals import Constant
from shoal_bench.caller import Caller
from shoal_bench.order import Closed, Load, Order, Payload
from shoal_bench.processes import work
from shoal_bench.tally import ABANDONED, OK, Tally
from shoal_testing.echoing import INFER, EchoingServer

STALL_S = 1.0
RATE = 100.0
BEFORE_S = 0.3


async def measured(server: EchoingServer, load: Load, *, until_s: float, timeout_s: float = 5.0) -> Tally:
    """Return what a caller without warm-up saw in ``until_s`` seconds."""
    order = Order(
        target=server.address,
        method=INFER,
        payloads=(Payload(b"x", "m", 1.0),),
        load=load,
        processes=1,
        seed=0,
        timeout_s=timeout_s,
        in_time_s=0.1,
        warm_up_s=until_s,
        window_s=60.0,
        drain_s=timeout_s,
    )
    caller = Caller(order, 0, 1)
    await caller.connect()
    stop, whole = asyncio.Event(), Tally()

    def window(tally: Tally) -> None:
        whole.then(tally)
        stop.set()

    whole.then(await caller.run(time.monotonic() + 0.05, stop, window))
    return whole


def stall_at(server: EchoingServer, call: int) -> None:
    server.on_call = lambda number: server.stall(STALL_S) if number == call else None


def test_an_open_loop_does_not_hide_that_the_server_stalled_for_a_second() -> None:
    async def run() -> Tally:
        server = EchoingServer()
        async with server.running():
            stall_at(server, round(BEFORE_S * RATE))
            return await measured(server, Constant(RATE), until_s=2.0)

    tally = asyncio.run(run())
    assert set(tally.statuses) == {OK}
    assert tally.statuses[OK] >= 190, "who meant to call while it stalled did call"
    assert tally.latencies.max_s >= 0.98 * STALL_S
    # A hundred of two hundred calls fell into the second, evenly: the last tenth of all waited 0.8 s and more, a
    # quarter half a second and more.
    assert tally.latencies.percentile_s(0.91) >= 0.7
    assert tally.latencies.percentile_s(0.76) >= 0.4
    assert tally.in_time <= tally.statuses[OK] - 85, "and none of those calls is goodput"


def test_a_closed_loop_hides_the_same_stall() -> None:
    async def run() -> Tally:
        server = EchoingServer()
        async with server.running():
            stall_at(server, 30)
            return await measured(server, Closed(1), until_s=2.0)

    tally = asyncio.run(run())
    assert tally.latencies.max_s >= 0.98 * STALL_S
    assert tally.latencies.percentile_s(0.91) < 0.4, "one call of all waited: it is why there are open loops"


def test_a_rate_that_the_server_cannot_hold_shows_the_queue_in_its_percentiles() -> None:
    async def run() -> tuple[Tally, Tally]:
        server = EchoingServer()
        server.one_by_one(each_s=0.01)
        async with server.running():
            alone = await measured(server, Closed(1), until_s=0.3)
            return alone, await measured(server, Constant(300), until_s=0.6)

    alone, overloaded = asyncio.run(run())
    assert set(overloaded.statuses) == {OK}
    # Of the 180 calls that come within 0.6 s at most 60 are answered by then: the last waits for 120 more, 1.2 s.
    assert overloaded.latencies.percentile_s(0.99) >= 1.0
    assert overloaded.latencies.percentile_s(0.5) >= 0.5
    assert alone.latencies.percentile_s(0.5) < 0.1, "a call alone takes 10 ms"


def test_calls_that_wait_longer_than_their_deadline_are_counted_as_such() -> None:
    async def run() -> Tally:
        server = EchoingServer()
        async with server.running():
            stall_at(server, 10)
            return await measured(server, Constant(RATE), until_s=1.0, timeout_s=0.2)

    tally = asyncio.run(run())
    assert set(tally.statuses) <= {OK, "DEADLINE_EXCEEDED", ABANDONED}
    assert tally.statuses["DEADLINE_EXCEEDED"] >= 50
    assert tally.failures.percentile_s(0.5) >= 0.19
    assert "DEADLINE_EXCEEDED" in tally.samples


def test_calls_to_nobody_are_counted_and_nothing_is_broken() -> None:
    async def run() -> Tally:
        server = EchoingServer()
        async with server.running():
            server.on_call = lambda _number: None
        return await measured(server, Constant(RATE), until_s=0.5, timeout_s=0.5)

    tally = asyncio.run(run())
    assert set(tally.statuses) <= {"UNAVAILABLE", "DEADLINE_EXCEEDED", ABANDONED}
    assert tally.statuses.total() >= 40
    assert not tally.latencies.count


def test_a_client_process_whose_owner_is_gone_ends_in_silence(capfd: pytest.CaptureFixture[str]) -> None:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    order = Order("127.0.0.1:1", INFER, (Payload(b"x", "m", 1.0),), Constant(RATE), 1, 0, 0.1, 0.1, 0.1, 0.1, 0.1)
    process = context.Process(target=work, args=(order, 0, theirs))
    process.start()
    theirs.close()
    ours.close()
    process.join()
    assert process.exitcode == 0
    assert capfd.readouterr().err == ""
