"""Requests of many callers run together, and nobody's answer shows it."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import pytest
import tritonclient.grpc.aio
from tritonclient.grpc import InferenceServerClient

from shoal_testing import models
from shoal_testing.server import RunningServer, running_server
from shoal_testing.telling_models import batch_mates
from shoal_testing.triton import eventually, given

CALLERS = 64
CALLS = 6
COLUMNS = 16
MODELS = {"costly": batch_mates(layers=5, width=2048), "cheap": batch_mates(layers=2, width=64)}

Floats = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """``costly`` takes long enough that requests gather while it runs; ``cheap`` is told to wait for company.

    Both run on one thread, as the sessions that they are compared with: then equal batches give equal bits.
    """
    folder = tmp_path_factory.mktemp("models")
    always, one_thread = '[batching]\nmode = "always"\n', "[runtime]\nintra_op_threads = 1\n"
    for name, delay in (("costly", ""), ("cheap", "delay_ms = 20\npreferred_rows = [32]\n")):
        path = models.save(folder, name, MODELS[name])
        path.parents[1].joinpath("model.toml").write_text(always + delay + one_thread)
    with running_server(folder, runtime={"slots": 1}) as running:
        yield running


@dataclass(frozen=True)
class Answer:
    """What one request got: its rows' numbers, their outputs, and the numbers of all rows of the batch."""

    rows: tuple[int, ...]
    y: Floats
    batch: tuple[int, ...]


async def call_all(address: str, model: str, x: Floats, sizes: list[int]) -> list[Answer]:
    """Send all rows of x from ``CALLERS`` tasks at once, in requests of so many rows."""
    starts = np.cumsum([0, *sizes])
    requests = iter([range(start, start + size) for start, size in zip(starts, sizes, strict=False)])
    answers: list[Answer] = []

    async with tritonclient.grpc.aio.InferenceServerClient(address) as client:

        async def caller() -> None:
            for rows in requests:
                numbers = np.array(rows)[:, None]
                result = await client.infer(model, [given("x", x[rows.start : rows.stop]), given("row", numbers)])
                mates = result.as_numpy("mates")
                assert (mates == mates[0]).all()
                answers.append(Answer(tuple(rows), result.as_numpy("y"), tuple(mates[0].tolist())))

        await asyncio.gather(*[caller() for _ in range(CALLERS)])
    return answers


@pytest.mark.parametrize("model", ["costly", "cheap"])
@pytest.mark.parametrize("most_rows", [1, 3])
def test_64_callers_share_batches_and_each_answer_is_that_of_its_batch(
    served: RunningServer, model: str, most_rows: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    sizes = random.integers(1, most_rows, CALLERS * CALLS, endpoint=True).tolist()
    x = random.normal(size=(sum(sizes), COLUMNS)).astype(np.float32)
    with InferenceServerClient(served.address) as client:
        inferences, executions = counted(client, model)
        answers = asyncio.run(call_all(served.address, model, x, sizes))
        wanted = inferences + sum(sizes)
        assert eventually(lambda: counted(client, model)[0], wanted) == wanted
        executions = counted(client, model)[1] - executions

    assert sorted(row for answer in answers for row in answer.rows) == list(range(len(x)))
    batches = {answer.batch for answer in answers}
    assert len(batches) == executions
    assert sorted(row for batch in batches for row in batch) == list(range(len(x)))
    assert len(x) / executions > 8, f"mean batch of {len(x) / executions:.1f} rows"

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    bare = ort.InferenceSession(MODELS[model], options)
    numbers = np.arange(len(x))[:, None]
    together = {batch: bare.run(["y"], {"x": x[list(batch)], "row": numbers[list(batch)]})[0] for batch in batches}
    for answer in answers:
        place = answer.batch.index(answer.rows[0])
        assert answer.batch[place : place + len(answer.rows)] == answer.rows
        assert np.array_equal(answer.y, together[answer.batch][place : place + len(answer.rows)])
        alone = bare.run(["y"], {"x": x[list(answer.rows)], "row": numbers[list(answer.rows)]})[0]
        assert np.abs(answer.y - alone).max() <= 1e-6


def counted(client: InferenceServerClient, model: str) -> tuple[int, int]:
    """Return how many rows and executions the model has answered."""
    statistics = client.get_inference_statistics(model).model_stats[0]
    return statistics.inference_count, statistics.execution_count
