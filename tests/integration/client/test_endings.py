"""How calls end that are not answered: by a deadline, a close, a cancel, or a peer that goes or makes no sense."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import grpc
import pytest

from shoal.inference import grpc_service_pb2 as pb
from shoal_client import (
    AsyncClient,
    CallError,
    Cancelled,
    ClientClosed,
    DeadlineExceeded,
    Keepalive,
    ProtocolError,
    Unavailable,
)
from shoal_testing.chaos_proxy import Faults, chaos_proxy
from shoal_testing.fake_server import ROW, SOON, Context, FakeServer, echo, echoing, failing, never, serving

Run = Callable[[Coroutine[Any, Any, None]], None]


def test_a_deadline_covers_all_attempts(run: Run) -> None:
    async def main() -> None:
        async with serving(FakeServer(ModelInfer=never)) as fake, AsyncClient(fake.address) as client:
            loop = asyncio.get_running_loop()
            began_s = loop.time()
            with pytest.raises(DeadlineExceeded, match=r"no answer within 0\.2 s"):
                await client.infer("m", ROW, timeout_s=0.2)
            assert 0.2 <= loop.time() - began_s < 5

    run(main())


def test_every_call_has_a_deadline(run: Run) -> None:
    left: list[float] = []

    async def infer(request: pb.ModelInferRequest, context: Context) -> pb.ModelInferResponse:
        left.append(context.time_remaining())
        return echo(request)

    async def main() -> None:
        async with serving(FakeServer(ModelInfer=infer)) as fake, AsyncClient(fake.address, timeout_s=17) as client:
            await client.infer("m", ROW)
            await client.infer("m", ROW, timeout_s=3)

    run(main())
    assert 16 < left[0] < 17.5
    assert 2 < left[1] < 3.5


def test_a_client_that_is_closed_ends_its_calls(run: Run) -> None:
    begun = asyncio.Event()

    async def infer(_request: pb.ModelInferRequest, _context: Context) -> None:
        begun.set()
        await asyncio.get_running_loop().create_future()

    async def main() -> None:
        async with serving(FakeServer(ModelInfer=infer)) as fake:
            async with AsyncClient(fake.address) as client:
                call = asyncio.ensure_future(client.infer("m", ROW))
                await begun.wait()
            with pytest.raises(ClientClosed):
                await call
            with pytest.raises(ClientClosed):
                await client.infer("m", ROW)

    run(main())


def test_a_caller_who_leaves_cancels_the_call_at_the_server(run: Run) -> None:
    async def main() -> None:
        begun, left = asyncio.Event(), asyncio.Event()

        async def infer(_request: pb.ModelInferRequest, _context: Context) -> None:
            begun.set()
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                left.set()

        async with serving(FakeServer(ModelInfer=infer)) as fake, AsyncClient(fake.address) as client:
            call = asyncio.ensure_future(client.infer("m", ROW))
            await begun.wait()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            await left.wait()

    run(main())


def test_a_cancel_by_the_server_is_an_error_and_no_cancellation(run: Run) -> None:
    async def main() -> None:
        async with serving(failing(1, grpc.StatusCode.CANCELLED)) as fake, AsyncClient(fake.address) as client:
            with pytest.raises(Cancelled):
                await client.infer("m", ROW)

    run(main())


def test_an_answer_that_is_none_is_a_protocol_error(run: Run) -> None:
    async def infer(_request: pb.ModelInferRequest, _context: Context) -> pb.ModelInferResponse:
        response = pb.ModelInferResponse()
        response.outputs.add(name="y", datatype="FP32", shape=[5])
        return response

    async def main() -> None:
        async with serving(FakeServer(ModelInfer=infer)) as fake, AsyncClient(fake.address) as client:
            with pytest.raises(ProtocolError, match="takes 5 elements"):
                await client.infer("m", ROW)

    run(main())


def test_a_peer_that_vanishes_is_noticed_by_keepalive_before_the_deadline(run: Run) -> None:
    async def main(address: str, faults: Faults) -> None:
        keepalive = Keepalive(time_s=0.2, timeout_s=1)
        async with AsyncClient(address, retry=None, keepalive=keepalive) as client:
            await client.infer("m", ROW)
            faults.black_hole = True
            with pytest.raises(Unavailable, match=r"(?i)ping|keepalive|timeout"):
                await client.infer("m", ROW, timeout_s=60)

    async def both() -> None:
        async with serving(FakeServer(ModelInfer=echoing)) as fake:
            faults = Faults()
            with chaos_proxy(fake.address, faults) as proxy:
                await main(proxy.address, faults)
                proxy.reset_all()

    run(both())


def test_a_server_that_stops_in_the_middle_fails_what_is_under_way_and_says_so(run: Run) -> None:
    async def main() -> None:
        begun = asyncio.Event()

        async def infer(_request: pb.ModelInferRequest, _context: Context) -> None:
            begun.set()
            await asyncio.get_running_loop().create_future()

        async with serving(FakeServer(ModelInfer=infer)) as fake, AsyncClient(fake.address, retry=SOON) as client:
            call = asyncio.ensure_future(client.infer("m", ROW))
            await begun.wait()
            assert fake.server is not None
            await fake.server.stop(None)
            with pytest.raises(CallError) as caught:
                await call
            assert caught.value.status in {"UNAVAILABLE", "CANCELLED"}
            assert caught.value.target == fake.address

    run(main())
