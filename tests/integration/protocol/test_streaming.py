"""ModelStreamInfer by the stock client: answers, failures and cancellation."""

import queue
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from tritonclient.grpc import InferenceServerClient, InferResult
from tritonclient.utils import InferenceServerException

from shoal_testing import models
from shoal_testing.server import RunningServer, running_server
from shoal_testing.telling_models import plus
from shoal_testing.triton import asked, eventually, first_column, given, inside, rows, save_held, status

WITHIN_S = 10.0
STRICT = {"triton_grpc_error": "true"}

pytestmark = pytest.mark.usefixtures("nothing_stays_inside")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("models")
    for number in (1, 2):
        models.save(folder, f"plus_{number}", plus(number))
    models.save(folder, "sums", models.two_inputs_two_outputs())
    models.save(folder, "gather", models.gather())
    save_held(folder, "held", rows=4)
    with running_server(folder) as running:
        yield running


class Answers:
    """Takes the answers of a stream."""

    def __init__(self) -> None:
        self._answers: queue.SimpleQueue[tuple[InferResult | None, InferenceServerException | None]]
        self._answers = queue.SimpleQueue()

    def __call__(self, result: InferResult | None, error: InferenceServerException | None) -> None:
        self._answers.put((result, error))

    def result(self) -> InferResult:
        """Return the next answer, which is no failure."""
        result, error = self._answers.get(timeout=WITHIN_S)
        assert error is None, error
        return result

    def error(self) -> InferenceServerException:
        """Return the next answer, which is a failure."""
        _, error = self._answers.get(timeout=WITHIN_S)
        assert error is not None
        return error

    @property
    def none_left(self) -> bool:
        return self._answers.empty()


def is_final(result: InferResult) -> bool:
    """Whether the answer says that no other will follow to its request."""
    parameter = result.get_response().parameters["triton_final_response"]
    assert parameter.WhichOneof("parameter_choice") == "bool_param"
    final: bool = parameter.bool_param
    return final


def test_many_requests_of_one_stream_are_under_way_at_once_and_each_gets_its_answer(
    client: InferenceServerClient,
) -> None:
    answers = Answers()
    client.start_stream(answers)
    for number in range(300):
        client.async_stream_infer("plus_1", [rows(number, -number)], request_id=str(number))
    found = {result.get_response().id: first_column(result) for result in (answers.result() for _ in range(300))}
    client.stop_stream()
    assert found == {str(number): [number + 1, 1 - number] for number in range(300)}
    assert answers.none_left


def test_one_stream_may_call_several_models(client: InferenceServerClient) -> None:
    answers = Answers()
    client.start_stream(answers)
    for number in range(60):
        client.async_stream_infer(f"plus_{1 + number % 2}", [rows(number)], request_id=str(number))
    client.stop_stream()
    for _ in range(60):
        result = answers.result()
        number = int(result.get_response().id)
        assert result.get_response().model_name == f"plus_{1 + number % 2}"
        assert first_column(result) == [number + 1 + number % 2]


def test_a_streamed_request_may_name_version_outputs_and_parameters(client: InferenceServerClient) -> None:
    answers = Answers()
    client.start_stream(answers)
    array = np.array([[1, 2, 3]], np.float32)
    client.async_stream_infer(
        "sums",
        [given("a", array), given("b", array)],
        model_version="1",
        outputs=asked("difference"),
        request_id="é",
        priority=1,
        timeout=60_000_000,
        parameters={"mine": 1.5},
    )
    result = answers.result()
    response = result.get_response()
    assert (response.id, response.model_version, [output.name for output in response.outputs]) == (
        "é",
        "1",
        ["difference"],
    )
    assert result.as_numpy("difference").tolist() == [[0, 0, 0]]


@pytest.mark.parametrize("enable", [False, True])
def test_every_streamed_answer_is_its_requests_last(
    client: InferenceServerClient,
    enable: bool,  # noqa: FBT001 - the option under test
) -> None:
    """No model here answers a request more than once or never, so there is nothing for an empty answer to say."""
    answers = Answers()
    client.start_stream(answers)
    for number in range(5):
        client.async_stream_infer("plus_1", [rows(number)], request_id=str(number), enable_empty_final_response=enable)
    client.stop_stream()
    results = [answers.result() for _ in range(5)]
    assert all(is_final(result) for result in results)
    assert all(result.as_numpy("y") is not None for result in results)
    assert answers.none_left


def test_a_failure_is_a_message_and_the_stream_goes_on(client: InferenceServerClient) -> None:
    answers = Answers()
    client.start_stream(answers)
    for model, tensor, complaint in (
        ("nobody", rows(1), "unknown model 'nobody'"),
        ("plus_1", given("z", np.zeros((1, 2), np.float32)), "unknown input 'z'; the model takes ['x']"),
        ("gather", given("ids", np.array([[99]])), "Gather node 'lookup'"),
    ):
        client.async_stream_infer(model, [tensor], request_id="bad")
        error = answers.error()
        assert complaint in error.message()
        assert error.status() is None
        client.async_stream_infer("plus_1", [rows(1)], request_id="good")
        assert first_column(answers.result()) == [2]


@pytest.mark.parametrize(
    ("model", "tensor", "wanted"),
    [
        ("nobody", rows(1), "NOT_FOUND"),
        ("plus_1", given("z", np.zeros((1, 2), np.float32)), "INVALID_ARGUMENT"),
        ("gather", given("ids", np.array([[99]])), "INVALID_ARGUMENT"),
    ],
    ids=["unknown model", "unknown input", "failed run"],
)
def test_a_stream_that_asks_for_statuses_ends_with_that_of_its_first_failure(
    client: InferenceServerClient,
    model: str,
    tensor: Any,  # noqa: ANN401 - tritonclient has no types
    wanted: str,
) -> None:
    answers = Answers()
    client.start_stream(answers, headers=STRICT)
    client.async_stream_infer("plus_1", [rows(1)])
    assert first_column(answers.result()) == [2]
    client.async_stream_infer(model, [tensor])
    assert status(answers.error()) == wanted
    client.stop_stream()
    assert answers.none_left
    client.start_stream(answers, headers=STRICT)
    client.async_stream_infer("plus_1", [rows(2)])
    assert first_column(answers.result()) == [3]


def test_a_failure_that_ends_a_stream_withdraws_what_still_waits(
    client: InferenceServerClient, served: RunningServer
) -> None:
    answers = Answers()
    client.start_stream(answers, headers=STRICT)
    client.async_stream_infer("held", [rows(1)])
    with InferenceServerClient(served.address) as other:
        assert eventually(lambda: inside(served, other), 1) == 1
        client.async_stream_infer("nobody", [rows(1)])
        assert status(answers.error()) == "NOT_FOUND"
        assert eventually(lambda: inside(served, other), 0) == 0


def test_the_header_that_asks_for_statuses_asks_for_nothing_if_it_says_no(client: InferenceServerClient) -> None:
    answers = Answers()
    client.start_stream(answers, headers={"triton_grpc_error": "false"})
    client.async_stream_infer("nobody", [rows(1)])
    assert answers.error().status() is None
    client.async_stream_infer("plus_1", [rows(1)])
    assert first_column(answers.result()) == [2]


def test_a_cancelled_stream_withdraws_its_requests(client: InferenceServerClient, served: RunningServer) -> None:
    answers = Answers()
    client.start_stream(answers)
    for _ in range(3):
        client.async_stream_infer("held", [rows(1)])
    with InferenceServerClient(served.address) as other:
        assert eventually(lambda: inside(served, other), 3) == 3
        client.stop_stream(cancel_requests=True)
        assert status(answers.error()) == "CANCELLED"
        assert eventually(lambda: inside(served, other), 0) == 0
        counted = other.get_inference_statistics("held").model_stats[0]
        assert counted.inference_count % 4 == 0


def test_a_streams_timeout_ends_it(client: InferenceServerClient, served: RunningServer) -> None:
    answers = Answers()
    client.start_stream(answers, stream_timeout=2.0)
    client.async_stream_infer("plus_1", [rows(1)])
    assert first_column(answers.result()) == [2]
    client.async_stream_infer("held", [rows(1)])
    # The request ends with the stream, and its own failure may still get through.
    while (error := answers.error()).status() is None:
        assert error.message() == "the deadline passed while the request waited for its batch"
    assert status(error) == "DEADLINE_EXCEEDED"
    with InferenceServerClient(served.address) as other:
        assert eventually(lambda: inside(served, other), 0) == 0


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_a_stream_may_be_compressed(client: InferenceServerClient, algorithm: str) -> None:
    answers = Answers()
    client.start_stream(answers, compression_algorithm=algorithm)
    client.async_stream_infer("plus_1", [rows(*range(1000))])
    assert first_column(answers.result()) == list(range(1, 1001))


def test_a_stream_of_nothing_ends_well(client: InferenceServerClient) -> None:
    answers = Answers()
    client.start_stream(answers)
    client.stop_stream()
    assert answers.none_left
