"""Two copies of a request: the first answer wins."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from shoal_client.errors import CallError, Unavailable
from shoal_client.race import race
from shoal_testing.virtual_time import run_virtual, virtual_loop


class Copies:
    """Two copies that end after so many seconds, with an answer or an error; ``left`` tells who was cancelled."""

    def __init__(self, first: tuple[float, object], second: tuple[float, object] | None) -> None:
        self._given = [first, second]
        self.started: list[float] = []
        self.left: list[int] = []

    async def run(self, number: int) -> object:
        given = self._given[number]
        assert given is not None
        self.started.append(virtual_loop().time())
        try:
            await asyncio.sleep(given[0])
        except asyncio.CancelledError:
            self.left.append(number)
            raise
        if isinstance(given[1], Exception):
            raise given[1]
        return given[1]

    def second(self) -> Coroutine[Any, Any, object] | None:
        return self.run(1) if self._given[1] is not None else None


def outcome(first: tuple[float, object], second: tuple[float, object] | None) -> tuple[object, float, list[int], int]:
    copies = Copies(first, second)

    async def main() -> tuple[object, float]:
        began_s = virtual_loop().time()
        try:
            result = await race(
                copies.run(0),
                copies.second,
                1.0,
                lambda error: isinstance(error, CallError) and error.status == "UNAVAILABLE",
            )
        except CallError as error:
            result = error.details
        return result, virtual_loop().time() - began_s

    result, took_s = run_virtual(main())
    return result, took_s, copies.left, len(copies.started)


AWAY = Unavailable("away")
WRONG = CallError("wrong")


@pytest.mark.parametrize(
    ("first", "second", "wanted"),
    [
        ((0.5, "fast"), (1.0, "copy"), ("fast", 0.5, [], 1)),
        ((3.0, "slow"), (0.5, "copy"), ("copy", 1.5, [0], 2)),
        ((1.25, "slow"), (5.0, "copy"), ("slow", 1.25, [1], 2)),
        ((3.0, "slow"), None, ("slow", 3.0, [], 1)),
        ((0.5, AWAY), (1.0, "copy"), ("away", 0.5, [], 1)),
        ((1.5, AWAY), (2.0, "copy"), ("copy", 3.0, [], 2)),
        ((3.0, "slow"), (0.5, AWAY), ("slow", 3.0, [], 2)),
        ((3.0, "slow"), (0.5, WRONG), ("wrong", 1.5, [0], 2)),
        ((1.5, AWAY), (2.0, AWAY), ("away", 3.0, [], 2)),
        ((1.5, "both"), (0.5, AWAY), ("both", 1.5, [], 2)),
        ((1.5, AWAY), (0.5, WRONG), ("wrong", 1.5, [], 2)),
    ],
)
def test_the_first_answer_wins_and_a_failure_leaves_the_other_its_chance(
    first: tuple[float, object], second: tuple[float, object] | None, wanted: tuple[object, float, list[int], int]
) -> None:
    assert outcome(first, second) == wanted


def test_a_caller_who_leaves_ends_both_copies() -> None:
    copies = Copies((5.0, "a"), (5.0, "b"))

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2.0):
                await race(copies.run(0), copies.second, 1.0, lambda _error: True)

    run_virtual(main())
    assert copies.left == [0, 1]
