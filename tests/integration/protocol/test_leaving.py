"""Callers who give up, cancel or vanish: their requests leave the line, and nobody else notices."""

import asyncio
import queue
from collections.abc import Iterator

import pytest
import tritonclient.grpc.aio
from tritonclient.grpc import InferenceServerClient, InferResult
from tritonclient.utils import InferenceServerException

from shoal_testing.server import RunningServer, running_server
from shoal_testing.triton import eventually, first_column, inside, rows, save_held, status

WITHIN_S = 10.0

pytestmark = pytest.mark.usefixtures("nothing_stays_inside")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("models")
    save_held(folder, "held", rows=4)
    with running_server(folder) as running:
        yield running


def executed_rows(client: InferenceServerClient, model: str) -> int:
    statistics = client.get_inference_statistics(model)
    count: int = statistics.model_stats[0].inference_count
    return count


class Callback:
    """Takes the answers of ``async_infer``."""

    def __init__(self) -> None:
        self._answers: queue.SimpleQueue[tuple[InferResult, InferenceServerException]] = queue.SimpleQueue()

    def __call__(self, result: InferResult, error: InferenceServerException) -> None:
        self._answers.put((result, error))

    def answer(self) -> tuple[InferResult, InferenceServerException]:
        """Return the next answer."""
        return self._answers.get(timeout=WITHIN_S)


def test_a_clients_timeout_ends_its_call_and_the_server_forgets_the_request(
    client: InferenceServerClient, served: RunningServer
) -> None:
    before = executed_rows(client, "held")
    with pytest.raises(InferenceServerException) as caught:
        client.infer("held", [rows(1)], client_timeout=0.05)
    assert status(caught.value) == "DEADLINE_EXCEEDED"
    assert eventually(lambda: inside(served, client), 0) == 0
    assert executed_rows(client, "held") == before


def test_a_timeout_of_the_aio_client_ends_its_call_and_no_other(served: RunningServer) -> None:
    async def main() -> None:
        async with tritonclient.grpc.aio.InferenceServerClient(served.address) as calling:
            stay = [asyncio.create_task(calling.infer("held", [rows(number)])) for number in range(2)]
            with pytest.raises(InferenceServerException) as caught:
                await calling.infer("held", [rows(9)], client_timeout=0.05)
            assert status(caught.value) == "DEADLINE_EXCEEDED"
            while served.server.inside.requests != len(stay):
                assert await calling.is_server_live()
            await calling.infer("held", [rows(2, 3)])
            assert [first_column(await task) for task in stay] == [[0], [1]]

    asyncio.run(asyncio.wait_for(main(), WITHIN_S))


def test_a_timeout_in_the_request_is_kept_by_the_server(client: InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException) as caught:
        client.infer("held", [rows(1)], timeout=50_000)
    assert status(caught.value) == "DEADLINE_EXCEEDED"
    assert caught.value.message() == "the deadline passed while the request waited for its batch"


def test_who_cancels_leaves_and_the_others_of_the_batch_are_answered(
    client: InferenceServerClient, served: RunningServer
) -> None:
    before = executed_rows(client, "held")
    stay, go = Callback(), Callback()
    client.async_infer("held", [rows(1)], stay, request_id="1")
    leaving = client.async_infer("held", [rows(2)], go)
    client.async_infer("held", [rows(3)], stay, request_id="3")
    assert eventually(lambda: inside(served, client), 3) == 3
    leaving.cancel()
    assert status(go.answer()[1]) == "CANCELLED"
    assert eventually(lambda: inside(served, client), 2) == 2
    client.async_infer("held", [rows(4, 5)], stay, request_id="45")
    answers = [stay.answer() for _ in range(3)]
    assert [error for _, error in answers] == [None] * 3
    assert {result.get_response().id: first_column(result) for result, _ in answers} == {
        "1": [1],
        "3": [3],
        "45": [4, 5],
    }
    assert eventually(lambda: executed_rows(client, "held"), before + 4) == before + 4


def test_a_cancelled_task_of_the_aio_client_leaves_the_line(
    client: InferenceServerClient, served: RunningServer
) -> None:
    async def main() -> None:
        async with tritonclient.grpc.aio.InferenceServerClient(served.address) as calling:
            task = asyncio.create_task(calling.infer("held", [rows(1)]))
            while not served.server.inside.requests:
                assert await calling.is_server_live()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            while served.server.inside.requests:
                assert await calling.is_server_live()

    asyncio.run(asyncio.wait_for(main(), WITHIN_S))
    assert executed_rows(client, "held") % 4 == 0


def test_a_client_that_closes_its_connection_leaves_the_line(
    client: InferenceServerClient, served: RunningServer
) -> None:
    callback = Callback()
    with InferenceServerClient(served.address, channel_args=[("grpc.use_local_subchannel_pool", 1)]) as closing:
        closing.async_infer("held", [rows(1)], callback)
        assert eventually(lambda: inside(served, client), 1) == 1
    assert status(callback.answer()[1]) == "CANCELLED"
    assert eventually(lambda: inside(served, client), 0) == 0
