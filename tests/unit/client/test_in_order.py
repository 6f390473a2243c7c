"""Many at once, their results in order."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_client.errors import CallError, ConfigurationError
from shoal_client.in_order import check_bound, in_order
from shoal_testing.virtual_time import run_virtual


@given(durations=st.lists(st.floats(0.001, 10), max_size=30), bound=st.integers(1, 8))
def test_results_keep_their_order_and_the_bound_holds(durations: list[float], bound: int) -> None:
    under_way = most = read = taken = 0

    def items() -> Iterator[tuple[int, float]]:
        nonlocal read
        for item in enumerate(durations):
            read += 1
            assert read - taken <= bound + 1, "read no further ahead than the bound"
            yield item

    async def run(item: tuple[int, float]) -> int:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(item[1])
        under_way -= 1
        return item[0]

    async def main() -> list[int | CallError]:
        nonlocal taken
        results = []
        async for result in in_order(items(), run, bound, "raise"):
            taken += 1
            results.append(result)
        return results

    assert run_virtual(main()) == list(range(len(durations)))
    assert most <= bound


async def one_fails(item: int) -> int:
    await asyncio.sleep(0.1)
    if item == 2:
        raise CallError("no")
    return item


async def collect(results: AsyncIterator[object], got: list[object]) -> None:
    async for result in results:
        got.append(result)  # noqa: PERF401 - what came before an error counts


def test_a_failure_ends_the_iteration_and_what_is_under_way() -> None:
    got: list[object] = []
    with pytest.raises(CallError, match="no"):
        run_virtual(collect(in_order(range(100), one_fails, 4, "raise"), got))
    assert got == [0, 1]


def test_a_failure_may_take_the_place_of_its_result() -> None:
    async def main() -> list[object]:
        return [result async for result in in_order(range(4), one_fails, 2, "return")]

    results = run_virtual(main())
    assert isinstance(results.pop(2), CallError)
    assert results == [0, 1, 3]


def test_what_the_items_raise_comes_after_the_results_before_it() -> None:
    def items() -> Iterator[int]:
        yield 0
        yield 1
        raise OSError("the file ended")

    got: list[object] = []
    with pytest.raises(OSError, match="the file ended"):
        run_virtual(collect(in_order(items(), one_fails, 8, "raise"), got))
    assert got == [0, 1]


def test_who_stops_early_leaves_nothing_running() -> None:
    async def main() -> None:
        async with aclosing(in_order(range(1000), one_fails, 4, "raise")) as results:
            async for _ in results:
                break

    run_virtual(main())  # a task that is left behind fails it


def test_items_that_come_slowly_do_not_hold_back_results_that_are_there() -> None:
    async def items() -> AsyncIterator[int]:
        yield 0
        await asyncio.sleep(100)
        yield 1

    async def main() -> float:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        async with aclosing(in_order(items(), one_fails, 4, "raise")) as results:
            await anext(results)
        return loop.time() - began_s

    assert run_virtual(main()) == pytest.approx(0.1)


def test_bounds_out_of_range_are_refused() -> None:
    for wrong in (0, -1, 5000):
        with pytest.raises(ConfigurationError, match="concurrency is from 1 to 4096"):
            check_bound(wrong, "concurrency")
