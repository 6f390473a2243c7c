"""Retries, push-back, deadlines and several targets, against small servers that fail as they are told."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import grpc
import numpy as np
import pytest

from shoal.health import health_pb2
from shoal.inference import grpc_service_pb2 as pb
from shoal_client import (
    AsyncClient,
    CallError,
    Cancelled,
    ClientClosed,
    DeadlineExceeded,
    Hedging,
    Keepalive,
    Overloaded,
    ProtocolError,
    RetryOptions,
    Unavailable,
)
from shoal_testing.chaos_proxy import Faults, chaos_proxy
from shoal_testing.fake_server import Context, FakeServer, echo, echoing, fail, never, serving

Run = Callable[[Coroutine[Any, Any, None]], None]

ROW = {"x": np.ones((1, 2), np.float32)}
SOON = RetryOptions(first_delay_s=0.001, max_delay_s=0.01)


def failing(times: int, status: grpc.StatusCode, pushback_ms: str | None = None) -> FakeServer:
    """Return a server whose ModelInfer fails so often before it works."""

    async def infer(request: pb.ModelInferRequest, context: Context) -> pb.ModelInferResponse:
        if fake.calls["ModelInfer"] <= times:
            await fail(context, status, "not now", pushback_ms)
        return echo(request)

    fake = FakeServer(ModelInfer=infer)
    return fake


def free_port() -> int:
    """Return a port at which nobody listens now."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port: int = bound.getsockname()[1]
        return port


def test_an_unavailable_server_is_asked_again(run: Run) -> None:
    async def main() -> None:
        async with (
            serving(failing(2, grpc.StatusCode.UNAVAILABLE)) as fake,
            AsyncClient(fake.address, retry=SOON) as client,
        ):
            result = await client.infer("m", ROW)
            assert result.timings.attempts == fake.calls["ModelInfer"] == 3

    run(main())


def test_without_retries_the_first_failure_is_told_with_all_that_is_known(run: Run) -> None:
    async def main() -> None:
        async with (
            serving(failing(1, grpc.StatusCode.UNAVAILABLE)) as fake,
            AsyncClient(fake.address, retry=None) as client,
        ):
            with pytest.raises(Unavailable) as caught:
                await client.infer("m", ROW)
        error = caught.value
        assert (error.status, error.model, error.target, error.attempts) == ("UNAVAILABLE", "m", fake.address, 1)
        assert error.details == "not now"
        assert error.__cause__ is None, "nothing of grpc leaks"
        assert isinstance(error.cause, grpc.RpcError), "unless it is asked for"

    run(main())


@pytest.mark.parametrize("status", ["RESOURCE_EXHAUSTED", "INTERNAL", "INVALID_ARGUMENT", "NOT_FOUND", "UNKNOWN"])
def test_what_does_not_say_elsewhere_is_not_sent_again(run: Run, status: str) -> None:
    async def main() -> None:
        async with (
            serving(failing(1, grpc.StatusCode[status])) as fake,
            AsyncClient(fake.address, retry=SOON) as client,
        ):
            with pytest.raises(CallError) as caught:
                await client.infer("m", ROW)
            assert caught.value.status == status
            assert fake.calls["ModelInfer"] == 1

    run(main())


def test_a_servers_hint_is_obeyed_to_the_millisecond(run: Run) -> None:
    async def main() -> None:
        fake = failing(1, grpc.StatusCode.RESOURCE_EXHAUSTED, "150")
        async with serving(fake), AsyncClient(fake.address, retry=SOON) as client:
            result = await client.infer("m", ROW)
            assert result.timings.attempts == 2
            assert result.timings.total_s >= 0.15

    run(main())


@pytest.mark.parametrize("status", ["RESOURCE_EXHAUSTED", "UNAVAILABLE"])
def test_a_negative_hint_means_never(run: Run, status: str) -> None:
    async def main() -> None:
        fake = failing(1, grpc.StatusCode[status], "-1")
        async with serving(fake), AsyncClient(fake.address, retry=SOON) as client:
            with pytest.raises(CallError, match="asks not to come again") as caught:
                await client.infer("m", ROW)
            assert caught.value.never_retry
            assert fake.calls["ModelInfer"] == 1

    run(main())


def test_a_hint_beyond_the_deadline_is_told_at_once_instead_of_waited_for(run: Run) -> None:
    async def main() -> None:
        fake = failing(1, grpc.StatusCode.RESOURCE_EXHAUSTED, "60000")
        async with serving(fake), AsyncClient(fake.address, retry=SOON) as client:
            with pytest.raises(Overloaded) as caught:
                await client.infer("m", ROW, timeout_s=5)
            assert caught.value.retry_after_s == 60

    run(main())


def test_a_change_of_models_is_never_sent_twice(run: Run) -> None:
    async def load(_request: pb.RepositoryModelLoadRequest, context: Context) -> None:
        await fail(context, grpc.StatusCode.UNAVAILABLE, "not now", "1")

    async def main() -> None:
        fake = FakeServer(RepositoryModelLoad=load, RepositoryModelUnload=load)
        async with serving(fake), AsyncClient(fake.address, retry=SOON) as client:
            with pytest.raises(Unavailable):
                await client.load_model("m")
            with pytest.raises(Unavailable):
                await client.unload_model("m")
            assert set(fake.calls.values()) == {1}

    run(main())


def test_the_budget_ends_a_storm_of_retries(run: Run) -> None:
    async def main() -> None:
        fake = failing(10_000, grpc.StatusCode.UNAVAILABLE)
        options = RetryOptions(first_delay_s=0.001, max_delay_s=0.001, max_attempts=10, budget=20)
        async with serving(fake), AsyncClient(fake.address, retry=options) as client:
            calls = [client.infer("m", ROW) for _ in range(50)]
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
            assert all(isinstance(outcome, Unavailable) for outcome in outcomes)
            assert fake.calls["ModelInfer"] <= 60, "fifty first attempts, and ten retries at most"

    run(main())


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


def test_a_server_that_nobody_runs_is_named(run: Run) -> None:
    target = f"127.0.0.1:{free_port()}"

    async def main() -> None:
        async with AsyncClient(target, retry=SOON) as client:
            with pytest.raises(Unavailable, match="refused") as caught:
                await client.infer("m", ROW)
            assert caught.value.target == target
            assert not await client.live()
            assert not await client.ready()

    run(main())


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


def test_several_targets_take_turns_and_a_dead_one_is_left_out(run: Run) -> None:
    async def main() -> None:
        first, second = FakeServer(ModelInfer=echoing), FakeServer(ModelInfer=echoing)
        dead = f"127.0.0.1:{free_port()}"
        async with (
            serving(first),
            serving(second),
            AsyncClient([first.address, dead, second.address], retry=SOON) as client,
        ):
            results = [await client.infer("m", ROW) for _ in range(12)]
            assert sum(result.timings.attempts for result in results) == 13, "the dead one was asked once"
            assert abs(first.calls["ModelInfer"] - second.calls["ModelInfer"]) <= 1
            health = {target.target: target for target in client.health()}
            assert not health[dead].healthy
            assert health[dead].out_s > 0
            assert health[first.address].healthy

    run(main())


def test_a_retry_goes_elsewhere(run: Run) -> None:
    async def main() -> None:
        bad, good = failing(1000, grpc.StatusCode.UNAVAILABLE), FakeServer(ModelInfer=echoing)
        async with serving(bad), serving(good), AsyncClient([bad.address, good.address], retry=SOON) as client:
            result = await client.infer("m", ROW)
            assert result.timings.attempts == 2
            assert good.calls["ModelInfer"] == 1

    run(main())


def test_a_server_that_comes_back_takes_calls_again(run: Run) -> None:
    async def main() -> None:
        async with serving(FakeServer(ModelInfer=echoing)) as fake:
            address = fake.address
            async with AsyncClient(address, retry=SOON) as client:
                await client.infer("m", ROW)
                assert fake.server is not None
                await fake.server.stop(None)
                with pytest.raises(Unavailable):
                    await client.infer("m", ROW, timeout_s=0.5)
                patient = RetryOptions(max_attempts=50, first_delay_s=0.05, max_delay_s=0.05, budget=200)
                async with AsyncClient(address, retry=patient) as other:
                    waiting = asyncio.ensure_future(other.infer("m", ROW))
                    async with serving(FakeServer(ModelInfer=echoing), address=address):
                        assert (await waiting)["x"].shape == (1, 2)

    run(main())


def test_names_are_resolved_and_their_servers_take_turns(run: Run) -> None:
    async def main() -> None:
        async with serving(FakeServer(ModelInfer=echoing)) as fake:
            port = fake.address.rpartition(":")[2]
            async with AsyncClient(f"dns:///localhost:{port}") as client:
                assert (await client.infer("m", ROW))["x"].shape == (1, 2)
        first, second = FakeServer(ModelInfer=echoing), FakeServer(ModelInfer=echoing)
        async with serving(first), serving(second):
            both = f"ipv4:{first.address},{second.address}"
            async with AsyncClient(both) as client:
                for _ in range(20):
                    await client.infer("m", ROW)
        assert min(first.calls.get("ModelInfer", 0), second.calls.get("ModelInfer", 0)) > 0

    run(main())


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


def test_a_target_that_says_it_is_not_serving_gets_no_calls(run: Run) -> None:
    async def main() -> None:
        serves = asyncio.Event()

        async def watch(_request: health_pb2.HealthCheckRequest, _context: Context) -> AsyncIterator[Any]:
            yield health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.NOT_SERVING)
            await serves.wait()
            yield health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)
            await asyncio.get_running_loop().create_future()

        draining, ready = FakeServer(ModelInfer=echoing), FakeServer(ModelInfer=echoing)
        draining.methods["/grpc.health.v1.Health/Watch"] = watch
        async with (
            serving(draining),
            serving(ready),
            AsyncClient([draining.address, ready.address], retry=SOON) as client,
        ):
            for _ in range(10):
                await client.infer("m", ROW)
            assert "ModelInfer" not in draining.calls
            assert ready.calls["ModelInfer"] == 10
            serves.set()
            patient = RetryOptions(max_attempts=50, first_delay_s=0.02, max_delay_s=0.02, budget=200)
            async with AsyncClient(draining.address, retry=patient) as other:
                await other.infer("m", ROW)
            assert draining.calls["ModelInfer"] == 1

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


def test_a_target_that_takes_connections_and_says_nothing_is_left_out(run: Run) -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as hole:
            silent = f"127.0.0.1:{hole.getsockname()[1]}"
            async with (
                serving(FakeServer(ModelInfer=echoing)) as fake,
                AsyncClient([silent, fake.address], server_health=False) as client,
            ):
                with pytest.raises(DeadlineExceeded) as caught:
                    await client.infer("m", ROW, timeout_s=0.3)
                assert caught.value.target == silent
                assert not client.health()[0].healthy
                for _ in range(5):
                    await client.infer("m", ROW, timeout_s=10)
                assert client.health()[0].calls == 1

    run(main())
