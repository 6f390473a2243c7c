import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from shoal_testing.virtual_threads import FOR_EVER, VirtualThread, VirtualThreads
from shoal_testing.virtual_time import START_S, run_virtual, virtual_loop


def run_threads(test: Callable[[VirtualThreads, list[object]], Coroutine[Any, Any, None]]) -> list[object]:
    """Run a test with threads and a list to note what happened in."""
    notes: list[object] = []

    async def main() -> None:
        threads = VirtualThreads(virtual_loop())
        try:
            await test(threads, notes)
        finally:
            threads.close()

    run_virtual(main())
    return notes


def test_a_thread_and_the_loop_take_turns_in_the_order_of_their_times() -> None:
    async def test(threads: VirtualThreads, notes: list[object]) -> None:
        now = virtual_loop().time

        def work() -> None:
            notes.append(("starts", now() - START_S))
            threads.pause(2.0)
            notes.append(("goes on", now() - START_S))

        threads.start(work, lambda: notes.append(("ended", now() - START_S)), after_s=0.5)
        await asyncio.sleep(1.0)
        notes.append(("loop", now() - START_S))
        await asyncio.sleep(2.0)
        assert threads.alive == 0

    assert run_threads(test) == [("starts", 0.5), ("loop", 1.0), ("goes on", 2.5), ("ended", 2.5)]


def test_a_pause_that_is_woken_ends_then_and_says_so() -> None:
    async def test(threads: VirtualThreads, notes: list[object]) -> None:
        thread: list[VirtualThread] = []

        def work() -> None:
            current = threads.current()
            assert current is not None
            thread.append(current)
            notes.append(threads.pause(100.0))
            notes.append(virtual_loop_time() - START_S)
            notes.append(threads.pause(1.0))

        virtual_loop_time = virtual_loop().time
        threads.start(work, lambda: None)
        await asyncio.sleep(3.0)
        thread[0].wake()
        thread[0].wake()
        await asyncio.sleep(1.5)
        thread[0].wake()
        assert not virtual_loop().timers()

    assert run_threads(test) == [True, 3.0, False]


def test_a_thread_that_pauses_for_ever_is_counted_and_ended_by_close() -> None:
    async def test(threads: VirtualThreads, notes: list[object]) -> None:
        def work() -> None:
            try:
                threads.pause(FOR_EVER)
            finally:
                notes.append("unwound")

        threads.start(work, lambda: notes.append("never"))
        await asyncio.sleep(1.0)
        assert (threads.paused_for_ever, threads.alive) == (1, 1)

    assert run_threads(test) == ["unwound"]


def test_work_that_never_came_to_start_is_not_started_by_close() -> None:
    async def test(threads: VirtualThreads, notes: list[object]) -> None:
        threads.start(lambda: notes.append("ran"), lambda: None, after_s=10.0)

    assert run_threads(test) == []


def test_a_pause_on_the_loop_does_nothing() -> None:
    async def test(threads: VirtualThreads, notes: list[object]) -> None:
        notes.append(threads.pause(5.0))

    assert run_threads(test) == [False]


def test_what_a_thread_raises_ends_the_run() -> None:
    async def test(threads: VirtualThreads, _notes: list[object]) -> None:
        def work() -> None:
            raise ZeroDivisionError

        threads.start(work, lambda: None)
        await asyncio.sleep(1.0)

    with pytest.raises(ZeroDivisionError):
        run_threads(test)
