"""Whose turn it is: in order for each model, told while it lasts, and not taken for who has left."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from shoal_server.errors import Conflict
from shoal_server.lifecycle.turns import Turns
from shoal_testing.virtual_time import VirtualClock, run_virtual, virtual_loop


def run_turns(test: Callable[[Turns], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        await test(Turns(VirtualClock(virtual_loop())))

    run_virtual(main())


def work(done: list[str], name: str, seconds: float = 1.0) -> Callable[[], Coroutine[Any, Any, None]]:
    async def do() -> None:
        await asyncio.sleep(seconds)
        done.append(name)

    return do


def test_what_is_under_way_is_the_turn_that_was_taken_and_since_then_however_many_wait() -> None:
    async def test(turns: Turns) -> None:
        done: list[str] = []
        first = asyncio.ensure_future(turns.take("m", "first", work(done, "first", 2.0)))
        await asyncio.sleep(0.5)
        second = asyncio.ensure_future(turns.take("m", "second", work(done, "second", 2.0)))
        await asyncio.sleep(0.5)
        with pytest.raises(Conflict, match=r"first of model 'm' has been under way for 1\.0 s"):
            turns.begin("m", "third", work(done, "third"))
        await asyncio.sleep(2)
        with pytest.raises(Conflict, match=r"second of model 'm' has been under way for 1\.0 s"):
            turns.begin("m", "third", work(done, "third"))
        await asyncio.gather(first, second)
        assert done == ["first", "second"]
        assert turns.running("m") is None

    run_turns(test)


def test_who_leaves_before_his_turn_has_nothing_done_and_holds_up_nobody() -> None:
    async def test(turns: Turns) -> None:
        done: list[str] = []
        tasks = [asyncio.ensure_future(turns.take("m", name, work(done, name))) for name in ("a", "b", "c")]
        await asyncio.sleep(0.5)
        tasks[1].cancel()
        await asyncio.wait(tasks)
        assert done == ["a", "c"]

    run_turns(test)


def test_work_that_fails_is_nothing_to_who_comes_after_it() -> None:
    async def test(turns: Turns) -> None:
        async def fail() -> None:
            await asyncio.sleep(1)
            raise ZeroDivisionError

        done: list[str] = []
        failing = asyncio.ensure_future(turns.take("m", "fails", fail))
        after = asyncio.ensure_future(turns.take("m", "after", work(done, "after")))
        with pytest.raises(ZeroDivisionError):
            await failing
        await after
        assert done == ["after"]

    run_turns(test)


def test_models_do_not_wait_for_each_other() -> None:
    async def test(turns: Turns) -> None:
        done: list[str] = []
        turns.begin("m", "slow", work(done, "slow", 5.0))
        turns.begin("n", "quick", work(done, "quick"))
        await asyncio.sleep(2)
        assert done == ["quick"]
        assert turns.running("m") is not None
        await asyncio.sleep(4)

    run_turns(test)
