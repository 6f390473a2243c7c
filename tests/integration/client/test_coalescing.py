"""Rows of concurrent calls that travel together to the real server."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest

from shoal_client import AsyncClient, CallError, Coalescing, DeadlineExceeded, Result
from shoal_testing.gated import gated
from shoal_testing.server import RunningServer

Run = Callable[[Coroutine[Any, Any, None]], None]


def test_concurrent_rows_travel_together_and_each_gets_its_own(served: RunningServer, run: Run) -> None:
    async def main() -> None:
        async with AsyncClient(served.address, coalescing=Coalescing(max_rows=16)) as client:
            before = (await client.statistics("FP32"))[0].stages["success"].count
            rows = [np.array([[number, -number]], np.float32) for number in range(64)]
            results = await asyncio.gather(*[client.infer("FP32", {"x": row}) for row in rows])
            for row, result in zip(rows, results, strict=True):
                assert result["y"].tolist() == row.tolist()
                assert result.timings.rows_together == 16
            after = (await client.statistics("FP32"))[0].stages["success"].count
            assert after - before == 4

    run(main())


def test_a_row_at_fault_fails_alone_among_those_it_travelled_with(served: RunningServer, run: Run) -> None:
    async def main() -> None:
        async with AsyncClient(served.address, coalescing=Coalescing(max_rows=8)) as client:
            ids = [0, 1, 2, 99, 4, 5, 6, 7]  # the model has 8 vectors
            calls = [client.infer("gather", {"ids": np.array([[number]])}) for number in ids]
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
            for number, outcome in zip(ids, outcomes, strict=True):
                if number == 99:
                    assert isinstance(outcome, CallError)
                    assert outcome.model == "gather"
                else:
                    assert isinstance(outcome, Result)
                    assert outcome["vectors"][0, 0, 0] == number

    run(main())


def test_rows_that_influence_each_other_never_travel_together(served: RunningServer, run: Run) -> None:
    async def main() -> None:
        async with AsyncClient(served.address, coalescing=Coalescing()) as client:
            rows = [np.full((1, 3), number, np.float32) for number in range(8)]
            results = await asyncio.gather(*[client.infer("softmax", {"x": row}) for row in rows])
            assert all(result["y"].tolist() == [[1, 1, 1]] for result in results), "each column of one row sums to 1"
            assert {result.timings.rows_together for result in results} == {0}

    run(main())


def test_a_deadline_passes_for_its_own_row_only(served: RunningServer, run: Run) -> None:
    async def main() -> None:
        with gated(served, "FP32") as gate:
            async with AsyncClient(served.address, coalescing=Coalescing()) as client:
                row = np.ones((1, 2), np.float32)
                patient = asyncio.ensure_future(client.infer("FP32", {"x": row}))
                hurried = asyncio.ensure_future(client.infer("FP32", {"x": row}, timeout_s=0.3))
                with pytest.raises(DeadlineExceeded):
                    await hurried
                gate.open()
                result = await patient
                assert result["y"].tolist() == [[1, 1]]
                assert result.timings.rows_together == 2

    run(main())
