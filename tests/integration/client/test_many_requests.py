"""Many requests by one call to the real server, each by a call of its own or all in a stream."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest

from shoal_client import AsyncClient, CallError, DeadlineExceeded, InvalidRequest, Result
from shoal_testing.gated import gated
from shoal_testing.server import RunningServer

Run = Callable[[Coroutine[Any, Any, None]], None]


def test_many_keep_their_order_and_tell_their_progress(served: RunningServer, run: Run) -> None:
    told: list[tuple[int, int | None]] = []

    async def main() -> None:
        async with AsyncClient(served.address) as client:
            items = [{"x": [number, 0]} for number in range(50)]
            results = [
                result["y"][0, 0]
                async for result in client.infer_many(
                    "FP32", items, concurrency=8, progress=lambda done, total: told.append((done, total))
                )
            ]
            assert results == list(range(50))

    run(main())
    assert told == [(done, 50) for done in range(1, 51)]


def test_a_stream_keeps_order_bound_and_failures_apart(served: RunningServer, run: Run) -> None:
    async def main() -> None:
        async with AsyncClient(served.address) as client:
            ids = [0, 1, 99, 3, 4]
            outcomes = [
                outcome
                async for outcome in client.stream(
                    "gather", ({"ids": [number]} for number in ids), max_in_flight=2, errors="return"
                )
            ]
            for number, outcome in zip(ids, outcomes, strict=True):
                if number == 99:
                    assert isinstance(outcome, CallError)
                    assert "out of data bounds" in outcome.details or "index" in outcome.details.lower()
                else:
                    assert isinstance(outcome, Result)
                    assert outcome["vectors"][0, 0, 0] == number
            with pytest.raises(CallError):
                async for _ in client.stream("gather", [{"ids": [99]}]):
                    pass
            assert [result async for result in client.stream("gather", [])] == []

    run(main())


def test_many_streams_at_once_each_get_their_own(served: RunningServer, run: Run) -> None:
    async def main() -> None:
        async with AsyncClient(served.address) as client:

            async def one(start: int) -> None:
                items = [{"x": np.full((1, 2), start + number, np.float32)} for number in range(50)]
                received = [result["y"][0, 0] async for result in client.stream("FP32", items)]
                assert received == [start + number for number in range(50)]

            await asyncio.gather(*[one(100 * stream) for stream in range(4)])

    run(main())


def test_what_fails_in_a_stream_of_ours_has_its_status(served: RunningServer, run: Run) -> None:
    async def main() -> None:
        async with AsyncClient(served.address) as client:
            row = {"x": np.ones((1, 2), np.float32)}
            wide = {"x": np.ones((1, 3), np.float32)}
            first, second = [outcome async for outcome in client.stream("FP32", [wide, row], errors="return")]
            assert isinstance(first, InvalidRequest)
            assert isinstance(second, Result)

    run(main())


def test_a_deadline_in_a_stream_is_its_requests_own(served: RunningServer, run: Run) -> None:
    async def main() -> None:
        with gated(served, "FP32") as gate:
            async with AsyncClient(served.address) as client:
                row = {"x": np.ones((1, 2), np.float32)}
                outcomes = [
                    outcome async for outcome in client.stream("FP32", [row, row], timeout_s=0.3, errors="return")
                ]
                assert [type(outcome) for outcome in outcomes] == [DeadlineExceeded] * 2
                gate.open()

    run(main())
