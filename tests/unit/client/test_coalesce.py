"""Rows of concurrent callers as one request, on virtual time and by a made-up server."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_client.coalesce import Answer, Coalescer, Ride
from shoal_client.datatypes import TYPES, Array
from shoal_client.errors import CallError, ClientClosed, DeadlineExceeded, InvalidRequest, Unavailable
from shoal_client.options import Metadata
from shoal_client.request import Ask, Tensor
from shoal_client.window import Coalescing
from shoal_testing.virtual_time import run_virtual

POISON = -1.0


class Doubler:
    """A model that doubles; a request with a poisoned row fails whole. ``sent`` are the rows of each request."""

    def __init__(self, takes_s: float = 0.1) -> None:
        self.takes_s = takes_s
        self.sent: list[list[float]] = []
        self.deadlines: list[float] = []
        self.fails: Callable[[Array], CallError | None] = lambda rows: (
            InvalidRequest("poison") if (rows == POISON).any() else None
        )
        self.whole = False

    async def send(self, ask: Ask, tensors: Sequence[Tensor], deadline_s: float, _metadata: Metadata) -> Answer:
        (tensor,) = tensors
        self.sent.append(tensor.array[:, 0].tolist())
        self.deadlines.append(deadline_s)
        await asyncio.sleep(self.takes_s)
        error = self.fails(tensor.array)
        if error is not None:
            raise error
        output = np.array(7.0) if self.whole else 2 * tensor.array
        return Answer({"y": output}, ask.model, "1", {}, "here:1", 1, hedged=False)


def row(value: float, width: int = 2) -> list[Tensor]:
    return [Tensor("x", TYPES["FP32"], np.full((1, width), value, np.float32))]


def coalescer(doubler: Doubler, max_rows: int = 4, max_delay_s: float = 0.05) -> Coalescer:
    return Coalescer(Coalescing(max_rows, max_delay_s), doubler.send)


async def ride(  # noqa: PLR0913 - what rows may differ in
    shared: Coalescer, value: float, *, model: str = "m", width: int = 2, within_s: float = 100.0, rows: int = 64
) -> Ride:
    deadline_s = asyncio.get_running_loop().time() + within_s
    found = await shared.ride(Ask(model, {}), row(value, width), deadline_s, {}, rows)
    assert found is not None
    return found


def first(found: Ride) -> float:
    array = found.answer.arrays["y"]
    assert array.shape[0] == 1
    return float(array.flat[0])


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        await work()
        await asyncio.sleep(0.001)  # the tasks that carried the rows end

    run_virtual(main())


def test_rows_of_one_turn_travel_together_and_each_gets_its_own() -> None:
    doubler = Doubler()

    async def main() -> None:
        rides = await asyncio.gather(*[ride(coalescer_, value) for value in (1.0, 2.0, 3.0)])
        assert [first(found) for found in rides] == [2, 4, 6]
        assert {(found.rows, found.waited_s) for found in rides} == {(3, 0.0)}

    coalescer_ = coalescer(doubler)
    run(main)
    assert doubler.sent == [[1, 2, 3]]


def test_who_comes_while_a_request_is_under_way_waits_for_its_end_or_the_delay() -> None:
    doubler = Doubler(takes_s=0.03)

    async def main() -> None:
        shared = coalescer(doubler)
        early = asyncio.ensure_future(ride(shared, 1.0))
        await asyncio.sleep(0.01)
        late = await asyncio.gather(*[ride(shared, value) for value in (2.0, 3.0)])
        assert [first(found) for found in (await early, *late)] == [2, 4, 6]
        assert late[0].waited_s == pytest.approx(0.02)

    run(main)
    assert doubler.sent == [[1], [2, 3]]


def test_no_request_has_more_rows_than_the_model_takes() -> None:
    doubler = Doubler()

    async def main() -> None:
        shared = coalescer(doubler, max_rows=8)
        await asyncio.gather(*[ride(shared, float(value), rows=3) for value in range(7)])

    run(main)
    assert [len(sent) for sent in doubler.sent] == [3, 3, 1]


def test_a_row_at_fault_fails_alone() -> None:
    doubler = Doubler()

    async def main() -> None:
        shared = coalescer(doubler, max_rows=8)
        values = [0.0, 1.0, 2.0, 3.0, 4.0, POISON, 6.0, 7.0]
        outcomes = await asyncio.gather(*[ride(shared, value) for value in values], return_exceptions=True)
        for value, outcome in zip(values, outcomes, strict=True):
            if value == POISON:
                assert isinstance(outcome, InvalidRequest)
            else:
                assert isinstance(outcome, Ride)
                assert first(outcome) == 2 * value

    run(main)
    assert len(doubler.sent) == 7, "halves: 8, 4 4, 2 2, 1 1"


@given(st.lists(st.sampled_from([1.0, 2.0, POISON]), min_size=1, max_size=16))
def test_every_row_gets_its_own_outcome_whichever_are_at_fault(values: list[float]) -> None:
    async def main() -> None:
        shared = coalescer(Doubler(), max_rows=16)
        outcomes = await asyncio.gather(*[ride(shared, value) for value in values], return_exceptions=True)
        assert [isinstance(outcome, InvalidRequest) for outcome in outcomes] == [value == POISON for value in values]

    run(main)


def test_a_server_that_is_away_is_not_asked_again_for_each_row() -> None:
    doubler = Doubler()
    doubler.fails = lambda _rows: Unavailable("away", retry_after_s=1.5, cause=OSError())

    async def main() -> None:
        shared = coalescer(doubler)
        outcomes = await asyncio.gather(*[ride(shared, 1.0) for _ in range(4)], return_exceptions=True)
        assert all(isinstance(outcome, Unavailable) and outcome.retry_after_s == 1.5 for outcome in outcomes)
        assert all(isinstance(outcome, Unavailable) and isinstance(outcome.cause, OSError) for outcome in outcomes)
        assert len({id(outcome) for outcome in outcomes}) == 4, "each raises an error of its own"

    run(main)
    assert len(doubler.sent) == 1


def test_a_deadline_is_kept_and_disturbs_nobody() -> None:
    doubler = Doubler(takes_s=10.0)

    async def main() -> None:
        shared = coalescer(doubler)
        hurried = asyncio.ensure_future(ride(shared, 1.0, within_s=2.0))
        patient = asyncio.ensure_future(ride(shared, 2.0))
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        with pytest.raises(DeadlineExceeded, match="no answer within 2 s"):
            await hurried
        assert loop.time() - began_s == 2.0
        assert first(await patient) == 4

    run(main)
    assert doubler.sent == [[1, 2]]
    assert doubler.deadlines == [1100.0], "that of the patient one"


def test_who_leaves_before_its_row_does_is_not_sent() -> None:
    doubler = Doubler(takes_s=0.03)

    async def main() -> None:
        shared = coalescer(doubler)
        early = asyncio.ensure_future(ride(shared, 1.0))
        await asyncio.sleep(0.01)
        leaver, stayer = (asyncio.ensure_future(ride(shared, value)) for value in (2.0, 3.0))
        await asyncio.sleep(0.01)
        leaver.cancel()
        await asyncio.gather(early, stayer)

    run(main)
    assert doubler.sent == [[1], [3]]


def test_only_what_is_alike_travels_together() -> None:
    doubler = Doubler()

    async def main() -> None:
        shared = coalescer(doubler)
        await asyncio.gather(
            ride(shared, 1.0), ride(shared, 2.0, model="n"), ride(shared, 3.0, width=3), ride(shared, 4.0)
        )

    run(main)
    assert doubler.sent == [[1, 4], [2], [3]]


def test_several_rows_in_one_call_are_sent_by_themselves() -> None:
    async def main() -> None:
        tensors = [Tensor("x", TYPES["FP32"], np.zeros((2, 2), np.float32))]
        assert await coalescer(Doubler()).ride(Ask("m", {}), tensors, 1e9, {}, 64) is None
        assert await coalescer(Doubler()).ride(Ask("m", {}), [], 1e9, {}, 64) is None

    run(main)


def test_outputs_that_are_no_rows_keep_their_callers_apart_from_then_on() -> None:
    doubler = Doubler()
    doubler.whole = True

    async def main() -> None:
        shared = coalescer(doubler)
        rides = await asyncio.gather(*[shared.ride(Ask("m", {}), row(1.0), 1e9, {}, 64) for _ in range(3)])
        assert all(found is not None and found.answer.arrays["y"] == 7.0 for found in rides)
        assert await shared.ride(Ask("m", {}), row(1.0), 1e9, {}, 64) is None

    run(main)
    assert sorted(len(sent) for sent in doubler.sent) == [1, 1, 1, 3]


def test_closing_fails_whoever_waits() -> None:
    doubler = Doubler(takes_s=10.0)

    async def main() -> None:
        shared = coalescer(doubler, max_delay_s=1.0)
        early = asyncio.ensure_future(ride(shared, 1.0))
        await asyncio.sleep(0.01)
        late = asyncio.ensure_future(ride(shared, 2.0))
        await asyncio.sleep(0.01)
        await shared.close()
        for task in (early, late):
            with pytest.raises(ClientClosed):
                await task

    run(main)
