"""Retries: what is sent again, when, and how often, against small servers that fail as they are told."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import grpc
import pytest

from shoal.inference import grpc_service_pb2 as pb
from shoal_client import AsyncClient, CallError, Overloaded, RetryOptions, Unavailable
from shoal_testing.fake_server import ROW, SOON, Context, FakeServer, echoing, fail, failing, serving

Run = Callable[[Coroutine[Any, Any, None]], None]


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
