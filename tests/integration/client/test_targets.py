"""Which of several targets is called, and which is left out."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import grpc
import pytest

from shoal.health import health_pb2
from shoal_client import AsyncClient, DeadlineExceeded, RetryOptions, Unavailable
from shoal_testing.fake_server import ROW, SOON, Context, FakeServer, echoing, failing, serving

Run = Callable[[Coroutine[Any, Any, None]], None]


def free_port() -> int:
    """Return a port at which nobody listens now."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port: int = bound.getsockname()[1]
        return port


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


def test_however_many_calls_meet_a_target_that_is_gone_all_are_answered_by_another(run: Run) -> None:
    async def main() -> None:
        fake = FakeServer(ModelInfer=echoing)
        dead = f"127.0.0.1:{free_port()}"
        async with serving(fake), AsyncClient([dead, fake.address]) as client:
            results = await asyncio.gather(*(client.infer("m", ROW) for _ in range(100)))
            assert fake.calls["ModelInfer"] == 100
            assert sum(result.timings.attempts for result in results) > 120, "many of them went there first"

    run(main())


def test_a_retry_goes_elsewhere(run: Run) -> None:
    async def main() -> None:
        bad, good = failing(1000, grpc.StatusCode.UNAVAILABLE), FakeServer(ModelInfer=echoing)
        async with serving(bad), serving(good), AsyncClient([bad.address, good.address], retry=SOON) as client:
            result = await client.infer("m", ROW)
            assert result.timings.attempts == 2
            assert good.calls["ModelInfer"] == 1

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
