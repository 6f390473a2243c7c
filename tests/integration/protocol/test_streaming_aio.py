"""ModelStreamInfer by the stock client for asyncio."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import pytest
import tritonclient.grpc.aio

from shoal_testing import models
from shoal_testing.server import RunningServer, running_server
from shoal_testing.telling_models import plus
from shoal_testing.triton import first_column, rows, save_held

WITHIN_S = 10.0

pytestmark = pytest.mark.usefixtures("nothing_stays_inside")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("models")
    for number in (1, 2):
        models.save(folder, f"plus_{number}", plus(number))
    save_held(folder, "held", rows=4)
    with running_server(folder) as running:
        yield running


def request(model: str, number: float, request_id: str = "") -> dict[str, Any]:
    return {"model_name": model, "inputs": [rows(number)], "request_id": request_id}


def test_streams_of_many_tasks_at_once_each_get_their_answers(served: RunningServer) -> None:
    async def main() -> None:
        async with tritonclient.grpc.aio.InferenceServerClient(served.address) as client:

            async def one(stream: int) -> None:
                async def requests() -> AsyncIterator[dict[str, Any]]:
                    for number in range(40):
                        yield request(f"plus_{1 + number % 2}", 100 * stream + number, str(number))

                found = {}
                async for result, error in client.stream_infer(requests()):
                    assert error is None
                    found[int(result.get_response().id)] = first_column(result)
                assert found == {number: [100 * stream + number + 1 + number % 2] for number in range(40)}

            await asyncio.gather(*[one(stream) for stream in range(16)])

    asyncio.run(asyncio.wait_for(main(), WITHIN_S))


def test_failures_and_answers_of_an_aio_stream_come_side_by_side(served: RunningServer) -> None:
    async def main() -> None:
        async def requests() -> AsyncIterator[dict[str, Any]]:
            for number in range(20):
                yield request("nobody" if number % 4 == 3 else "plus_1", number, str(number))

        async with tritonclient.grpc.aio.InferenceServerClient(served.address) as client:
            found = [answer async for answer in client.stream_infer(requests())]
        errors = [error.message() for _, error in found if error is not None]
        assert errors == ["unknown model 'nobody'"] * 5
        good = {int(result.get_response().id) for result, error in found if error is None}
        assert good == {number for number in range(20) if number % 4 != 3}

    asyncio.run(asyncio.wait_for(main(), WITHIN_S))


def test_an_aio_stream_that_asks_for_statuses_ends_with_one(served: RunningServer) -> None:
    async def main() -> None:
        async def requests() -> AsyncIterator[dict[str, Any]]:
            yield request("plus_1", 1)
            yield request("nobody", 1)
            await asyncio.Event().wait()

        async with tritonclient.grpc.aio.InferenceServerClient(served.address) as client:
            stream = client.stream_infer(requests(), headers={"triton_grpc_error": "true"})
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                _ = [answer async for answer in stream]
        assert (caught.value.code().name, caught.value.details()) == ("NOT_FOUND", "unknown model 'nobody'")

    asyncio.run(asyncio.wait_for(main(), WITHIN_S))


def test_a_cancelled_aio_stream_withdraws_its_requests(served: RunningServer) -> None:
    async def main() -> None:
        async def requests() -> AsyncIterator[dict[str, Any]]:
            yield request("held", 1)
            await asyncio.Event().wait()

        async with tritonclient.grpc.aio.InferenceServerClient(served.address) as client:
            stream = client.stream_infer(requests())
            waiting = asyncio.create_task(anext(stream))
            while not served.server.inside.requests:
                assert await client.is_server_live()
            assert stream.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            while served.server.inside.requests:
                assert await client.is_server_live()

    asyncio.run(asyncio.wait_for(main(), WITHIN_S))


def test_a_stream_that_sends_no_more_still_gets_what_is_outstanding(served: RunningServer) -> None:
    async def main() -> None:
        sent = asyncio.Event()

        async def requests() -> AsyncIterator[dict[str, Any]]:
            for number in range(3):
                yield {"model_name": "held", "inputs": [rows(number)], "request_id": str(number)}
            sent.set()

        async with tritonclient.grpc.aio.InferenceServerClient(served.address) as calling:
            stream = calling.stream_infer(requests())
            first = asyncio.create_task(anext(stream))
            await sent.wait()
            while served.server.inside.requests < 3:
                assert await calling.is_server_live()
            assert not first.done()
            await calling.infer("held", [rows(3)])
            found = [await first] + [answer async for answer in stream]
            assert sorted(first_column(result) for result, _ in found) == [[0], [1], [2]]
            assert [error for _, error in found] == [None] * 3

    asyncio.run(asyncio.wait_for(main(), WITHIN_S))
