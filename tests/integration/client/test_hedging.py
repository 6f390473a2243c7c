"""Slow calls that are sent once more elsewhere."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from shoal.inference import grpc_service_pb2 as pb
from shoal_client import AsyncClient, Hedging
from shoal_testing.fake_server import ROW, Context, FakeServer, echo, echoing, serving

Run = Callable[[Coroutine[Any, Any, None]], None]


def test_a_slow_call_is_sent_once_more_elsewhere_and_the_loser_is_cancelled(run: Run) -> None:
    async def main() -> None:
        stall, left = asyncio.Event(), asyncio.Event()

        async def infer(request: pb.ModelInferRequest, _context: Context) -> pb.ModelInferResponse:
            if stall.is_set():
                try:
                    await asyncio.get_running_loop().create_future()
                finally:
                    left.set()
            return echo(request)

        slow, quick = FakeServer(ModelInfer=infer), FakeServer(ModelInfer=echoing)
        options = Hedging(min_samples=10, ratio=0.2, burst=1, min_delay_s=0.05)
        async with serving(slow), serving(quick), AsyncClient([slow.address, quick.address], hedging=options) as client:
            for _ in range(10):
                result = await client.infer("m", ROW)
                assert not result.timings.hedged
            stall.set()
            result = await client.infer("m", ROW, timeout_s=10)
            assert result.timings.hedged
            assert result.timings.attempts == 2
            assert result.timings.total_s < 5
            await left.wait()

    run(main())


def test_hedges_end_with_their_budget(run: Run) -> None:
    async def main() -> None:
        all_came = asyncio.Event()

        async def infer(request: pb.ModelInferRequest, _context: Context) -> pb.ModelInferResponse:
            if fake.calls["ModelInfer"] > 5:
                if fake.calls["ModelInfer"] == 5 + 40 + 3:
                    all_came.set()
                await all_came.wait()
            return echo(request)

        fake = FakeServer(ModelInfer=infer)
        options = Hedging(min_samples=5, ratio=0.01, burst=3, min_delay_s=0.001)
        async with serving(fake), AsyncClient(fake.address, hedging=options) as client:
            for _ in range(5):
                await client.infer("m", ROW)
            results = await asyncio.gather(*[client.infer("m", ROW) for _ in range(40)])
            assert sum(result.timings.hedged for result in results) == 3
            assert fake.calls["ModelInfer"] == 48

    run(main())
