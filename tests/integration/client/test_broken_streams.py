"""Streams that break, answer out of order or without ids, or are left early."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import grpc
import numpy as np
import pytest

from shoal.inference import grpc_service_pb2 as pb
from shoal_client import AsyncClient, CallError, DeadlineExceeded, Overloaded, ProtocolError, Result, Unavailable
from shoal_testing.fake_server import SOON, Context, FakeServer, echo, fail, serving

Run = Callable[[Coroutine[Any, Any, None]], None]


async def echo_stream(requests: AsyncIterator[pb.ModelInferRequest], _context: Context) -> AsyncIterator[Any]:
    async for request in requests:
        yield pb.ModelStreamInferResponse(infer_response=echo(request))


def items(count: int) -> list[dict[str, Any]]:
    return [{"x": np.full((1, 1), number, np.float32)} for number in range(count)]


async def streamed(client: AsyncClient, count: int, **options: Any) -> list[float]:  # noqa: ANN401 - those of stream
    return [float(result["x"][0, 0]) async for result in client.stream("m", items(count), **options)]


@pytest.mark.parametrize("status", [grpc.StatusCode.UNAVAILABLE, None])
def test_a_stream_that_breaks_goes_on_with_what_was_not_answered(run: Run, status: grpc.StatusCode | None) -> None:
    received: list[list[str]] = []

    async def breaking(requests: AsyncIterator[pb.ModelInferRequest], context: Context) -> AsyncIterator[Any]:
        mine: list[str] = []
        received.append(mine)
        async for request in requests:
            mine.append(request.id)
            if len(received) < 3 and len(mine) == 4:
                if status is not None:
                    await context.abort(status, "draining")
                return
            yield pb.ModelStreamInferResponse(infer_response=echo(request))

    async def main() -> None:
        fake = FakeServer(ModelStreamInfer=breaking)
        async with serving(fake), AsyncClient(fake.address, retry=SOON) as client:
            assert await streamed(client, 20, max_in_flight=5) == list(range(20))

    run(main())
    assert len(received) == 3


def test_a_stream_that_is_refused_for_good_fails_what_waits(run: Run) -> None:
    async def refusing(_requests: AsyncIterator[pb.ModelInferRequest], context: Context) -> AsyncIterator[Any]:
        await fail(context, grpc.StatusCode.UNAVAILABLE, "closed", "-1")
        yield None

    async def main() -> None:
        fake = FakeServer(ModelStreamInfer=refusing)
        async with serving(fake), AsyncClient(fake.address, retry=SOON) as client:
            with pytest.raises(Unavailable, match=r"closed.*asks not to come again"):
                await streamed(client, 5)
            outcomes = [outcome async for outcome in client.stream("m", items(3), errors="return")]
            assert [type(outcome) for outcome in outcomes] == [Unavailable] * 3

    run(main())


def test_answers_out_of_order_are_put_in_order(run: Run) -> None:
    async def backwards(requests: AsyncIterator[pb.ModelInferRequest], _context: Context) -> AsyncIterator[Any]:
        waiting: list[pb.ModelInferRequest] = []
        async for request in requests:
            waiting.append(request)
            if len(waiting) == 4:
                for late in reversed(waiting):
                    yield pb.ModelStreamInferResponse(infer_response=echo(late))
                waiting.clear()

    async def main() -> None:
        fake = FakeServer(ModelStreamInfer=backwards)
        async with serving(fake), AsyncClient(fake.address) as client:
            assert await streamed(client, 16, max_in_flight=4) == list(range(16))

    run(main())


def test_a_failure_without_an_id_belongs_to_the_oldest_request(run: Run) -> None:
    async def nameless(requests: AsyncIterator[pb.ModelInferRequest], _context: Context) -> AsyncIterator[Any]:
        number = 0
        async for request in requests:
            number += 1
            if number == 2:
                yield pb.ModelStreamInferResponse(error_message="no such row")
            else:
                yield pb.ModelStreamInferResponse(infer_response=echo(request))

    async def main() -> None:
        fake = FakeServer(ModelStreamInfer=nameless)
        async with serving(fake), AsyncClient(fake.address) as client:
            outcomes = [outcome async for outcome in client.stream("m", items(3), errors="return")]
            assert isinstance(outcomes[0], Result)
            assert isinstance(outcomes[1], CallError)
            assert "UNKNOWN: model 'm'" in str(outcomes[1])
            assert "no such row" in str(outcomes[1])
            assert isinstance(outcomes[2], Result)

    run(main())


def test_a_failure_has_the_status_and_the_hint_that_the_server_tells(run: Run) -> None:
    told: tuple[dict[str, int | str], ...] = (
        {},
        {"grpc-status": 0},
        {"grpc-status": "8", "grpc-retry-pushback-ms": "1500"},
        {"grpc-status": 8, "grpc-retry-pushback-ms": 1500},
        {"grpc-status": 8, "grpc-retry-pushback-ms": -1},
        {"grpc-status": 99},
    )

    async def failing(requests: AsyncIterator[pb.ModelInferRequest], _context: Context) -> AsyncIterator[Any]:
        for parameters in told:
            response = pb.ModelInferResponse(id=(await anext(requests)).id)
            for name, value in parameters.items():
                response.parameters[name].CopyFrom(
                    pb.InferParameter(string_param=value)
                    if isinstance(value, str)
                    else pb.InferParameter(int64_param=value)
                )
            yield pb.ModelStreamInferResponse(error_message="no such row", infer_response=response)

    async def main() -> None:
        fake = FakeServer(ModelStreamInfer=failing)
        async with serving(fake), AsyncClient(fake.address) as client:
            outcomes = [outcome async for outcome in client.stream("m", items(len(told)), errors="return")]
        errors = [outcome for outcome in outcomes if isinstance(outcome, CallError)]
        assert [(type(error), error.status, error.retry_after_s, error.never_retry) for error in errors] == [
            (CallError, "UNKNOWN", None, False),
            (CallError, "UNKNOWN", None, False),
            (CallError, "UNKNOWN", None, False),
            (Overloaded, "RESOURCE_EXHAUSTED", 1.5, False),
            (Overloaded, "RESOURCE_EXHAUSTED", None, True),
            (CallError, "UNKNOWN", None, False),
        ]

    run(main())


def test_a_failure_without_an_id_is_not_told_to_the_next_after_its_own_has_left(run: Run) -> None:
    async def main() -> None:
        left = asyncio.Event()

        async def late(requests: AsyncIterator[pb.ModelInferRequest], _context: Context) -> AsyncIterator[Any]:
            async for request in requests:
                if not left.is_set():
                    await left.wait()
                    yield pb.ModelStreamInferResponse(error_message="no such row")
                else:
                    yield pb.ModelStreamInferResponse(infer_response=echo(request))

        fake = FakeServer(ModelStreamInfer=late)
        async with serving(fake), AsyncClient(fake.address) as client:
            outcomes: list[object] = []
            async for outcome in client.stream("m", items(2), max_in_flight=1, errors="return", timeout_s=1):
                outcomes.append(outcome)
                left.set()
            assert [type(outcome) for outcome in outcomes] == [DeadlineExceeded, Result]

    run(main())


def test_a_decoupled_model_is_told_that_it_has_no_place_in_a_stream(run: Run) -> None:
    async def decoupled(requests: AsyncIterator[pb.ModelInferRequest], _context: Context) -> AsyncIterator[Any]:
        async for request in requests:
            response = pb.ModelStreamInferResponse(infer_response=echo(request))
            response.infer_response.parameters["triton_final_response"].bool_param = False
            yield response

    async def main() -> None:
        fake = FakeServer(ModelStreamInfer=decoupled)
        async with serving(fake), AsyncClient(fake.address) as client:
            with pytest.raises(ProtocolError, match="several answers to one request"):
                await streamed(client, 1)

    run(main())


def test_leaving_a_stream_early_ends_it_at_the_server(run: Run) -> None:
    async def main() -> None:
        ended = asyncio.Event()

        async def watched(requests: AsyncIterator[pb.ModelInferRequest], _context: Context) -> AsyncIterator[Any]:
            try:
                async for request in requests:
                    yield pb.ModelStreamInferResponse(infer_response=echo(request))
            finally:
                ended.set()

        fake = FakeServer(ModelStreamInfer=watched)
        async with serving(fake), AsyncClient(fake.address) as client:
            results = client.stream("m", items(100), max_in_flight=2)
            await anext(results)
            await results.aclose()
            await ended.wait()

    run(main())
