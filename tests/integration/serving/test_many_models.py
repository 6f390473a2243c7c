"""Several models in one server: none takes another's answers, and none takes another's turn."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tritonclient.grpc.aio
from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from shoal_testing import models
from shoal_testing.server import RunningServer, running_server
from shoal_testing.telling_models import plus
from shoal_testing.triton import eventually, first_column, given, inside, rows, save_held, status

WIDTH = 512
COUNT = 20


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One thread computes for all models."""
    folder = tmp_path_factory.mktemp("models")
    for number in range(COUNT):
        models.save(folder, f"plus_{number}", plus(number))
    models.save(folder, "hot", models.slow(layers=60, width=WIDTH))
    models.save(folder, "quiet", plus(1))
    save_held(folder, "held", rows=1000)
    with running_server(folder, runtime={"slots": 1}) as running:
        yield running


@pytest.fixture
def client(served: RunningServer) -> Iterator[InferenceServerClient]:
    with InferenceServerClient(served.address) as opened:
        yield opened


def executions(client: InferenceServerClient, model: str) -> int:
    """Return how often the model ran."""
    count: int = client.get_inference_statistics(model).model_stats[0].execution_count
    return count


def test_concurrent_callers_of_many_models_each_get_the_answer_of_theirs(served: RunningServer) -> None:
    async def main() -> None:
        async with tritonclient.grpc.aio.InferenceServerClient(served.address) as client:

            async def call(model: int, number: int) -> None:
                result = await client.infer(f"plus_{model}", [rows(number)])
                assert result.get_response().model_name == f"plus_{model}"
                assert first_column(result) == [model + number]

            await asyncio.gather(*[call(model, number) for number in range(30) for model in range(COUNT)])

    asyncio.run(asyncio.wait_for(main(), 15))


def test_a_quiet_model_gets_its_turn_beside_a_hot_one(served: RunningServer, client: InferenceServerClient) -> None:
    callers, calls = 8, 25
    over = threading.Event()

    def heat() -> int:
        x = given("x", np.ones((4, WIDTH), np.float32))
        answered = 0
        with InferenceServerClient(served.address) as heating:
            while not over.is_set():
                heating.infer("hot", [x])
                answered += 1
        return answered

    with ThreadPoolExecutor(callers) as threads:
        heated = [threads.submit(heat) for _ in range(callers)]
        try:
            started = executions(client, "hot")
            assert eventually(lambda: executions(client, "hot") > started + 10, wanted=True)
            started = executions(client, "hot")
            for number in range(calls):
                assert first_column(client.infer("quiet", [rows(number)])) == [number + 1]
            passed = executions(client, "hot") - started
        finally:
            over.set()
        assert all(caller.result() for caller in heated)
    # The batch that is under way and the one whose turn it is; then some more, while the answer travels.
    assert passed < 8 * calls, f"{passed} batches of the hot model ran during {calls} quiet calls"


def test_a_model_whose_requests_wait_keeps_no_other_waiting(
    served: RunningServer, client: InferenceServerClient
) -> None:
    def cancelled(result: object, error: InferenceServerException) -> None:
        assert (result, status(error)) == (None, "CANCELLED")

    with InferenceServerClient(served.address) as holding:
        for _ in range(100):
            holding.async_infer("held", [rows(1)], cancelled)
        assert eventually(lambda: inside(served, client), 100) == 100
        for number in range(20):
            assert first_column(client.infer("quiet", [rows(number)])) == [number + 1]
        assert inside(served, client) == 100
    assert eventually(lambda: inside(served, client), 0) == 0
