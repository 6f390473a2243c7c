"""Equal requests that are computed once, and answers that are given again, on the wire."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from tritonclient.grpc import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException

from shoal_testing import models
from shoal_testing.gated import gated
from shoal_testing.server import RunningServer, running_server
from shoal_testing.triton import asked, eventually, first_column, given, inside, rows

CACHE = "[answers]\ncache_bytes = 1000000\n"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("models")
    for name, model, options in (
        ("cached", models.identity(), CACHE),
        ("text", models.identity("BYTES", ["N", 1]), CACHE),
        ("two", models.two_inputs_two_outputs(), CACHE),
        ("gather", models.gather(), CACHE),
        ("shared", models.identity(), "[answers]\nshare_in_flight = true\n"),
    ):
        models.save(folder, name, model).parents[1].joinpath("model.toml").write_text(options)
    with running_server(folder, runtime={"slots": 1}) as running:
        yield running


def counts(client: InferenceServerClient, model: str) -> tuple[int, int, int, int]:
    """Return requests answered, executions, hits and misses."""
    (found,) = client.get_inference_statistics(model).model_stats
    stats = found.inference_stats
    return stats.success.count, found.execution_count, stats.cache_hit.count, stats.cache_miss.count


def wait_until_kept(served: RunningServer, client: InferenceServerClient) -> None:
    """An answer is on its way before it is kept: who asks again at once may be computed again."""
    assert eventually(lambda: inside(served, client), 0) == 0


def test_the_second_answer_is_the_first_s_and_counted_as_a_hit(
    served: RunningServer, client: InferenceServerClient
) -> None:
    for number in (1.0, 2.0, 1.0, 1.0):
        result = client.infer("cached", [rows(number)], request_id=f"{number}")
        assert first_column(result) == [number]
        assert result.get_response().id == f"{number}", "the id is the request's own"
        wait_until_kept(served, client)
    assert eventually(lambda: counts(client, "cached"), (4, 2, 2, 2)) == (4, 2, 2, 2)


def test_strings_are_given_again(served: RunningServer, client: InferenceServerClient) -> None:
    texts = np.array([["é".encode()], [b"b"]], object)
    for _ in range(3):
        assert client.infer("text", [given("x", texts)]).as_numpy("y").tolist() == texts.tolist()
        wait_until_kept(served, client)
    assert eventually(lambda: counts(client, "text"), (3, 1, 2, 1)) == (3, 1, 2, 1)


def test_each_gets_the_outputs_that_it_asks_for(served: RunningServer, client: InferenceServerClient) -> None:
    inputs: list[InferInput] = [given(name, np.ones((1, 3), np.float32)) for name in ("a", "b")]
    for names in (["sum"], ["difference", "sum"], ["difference"]):
        response = client.infer("two", inputs, outputs=asked(*names)).get_response()
        assert [output.name for output in response.outputs] == names
        wait_until_kept(served, client)
    assert eventually(lambda: counts(client, "two"), (3, 1, 2, 1)) == (3, 1, 2, 1)


def test_a_failure_is_not_given_again(client: InferenceServerClient) -> None:
    for _ in range(2):
        with pytest.raises(InferenceServerException):
            client.infer("gather", [given("ids", np.array([[10**6]], np.int64))])
    assert counts(client, "gather")[2] == 0


def test_a_stream_is_answered_from_the_cache_in_order(served: RunningServer) -> None:
    answers: list[float] = []
    with InferenceServerClient(served.address) as streaming:
        streaming.start_stream(lambda result, error: answers.append(error or first_column(result)[0]))
        for number in (7.0, 8.0, 7.0, 7.0):
            streaming.async_stream_infer("cached", [rows(number)])
        streaming.stop_stream()
    assert answers == [7.0, 8.0, 7.0, 7.0]


def test_equal_requests_under_way_run_once(served: RunningServer, client: InferenceServerClient) -> None:
    with gated(served, "shared") as gate, ThreadPoolExecutor(10) as callers:
        first = callers.submit(client.infer, "shared", [rows(5.0)])
        gate.wait_for_run()
        same = [callers.submit(client.infer, "shared", [rows(5.0)]) for _ in range(8)]
        assert eventually(lambda: inside(served, client), 9) == 9
        gate.open()
        assert [first_column(call.result()) for call in (first, *same)] == [[5.0]] * 9
    assert eventually(lambda: counts(client, "shared")[:2], (9, 1)) == (9, 1)
