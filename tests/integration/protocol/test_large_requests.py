"""Requests of more rows than a batch may have, on the wire."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from shoal_testing import models, whole_models
from shoal_testing.server import RunningServer, running_server
from shoal_testing.triton import asked, eventually, given, rows, status

MAX_ROWS = 8
LIMITS = f'[batching]\nmode = "always"\nmax_rows = {MAX_ROWS}\n'


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("models")
    made: dict[str, bytes] = {
        "echo": models.identity(),
        "text": models.identity("BYTES", ["N", 1]),
        "two": models.two_inputs_two_outputs(),
        "gather": models.gather(),
    }
    for name, model in made.items():
        models.save(folder, name, model).parents[1].joinpath("model.toml").write_text(LIMITS)
    models.save(folder, "whole", whole_models.softmax_over_batch())
    path: Path = models.save(folder, "limited", models.identity())
    path.parents[1].joinpath("config.pbtxt").write_text('backend: "onnxruntime"\nmax_batch_size: 8\n')
    with running_server(folder) as running:
        yield running


def counts(client: InferenceServerClient, model: str) -> tuple[int, int, int]:
    """Return rows, batches and requests that were answered."""
    (found,) = client.get_inference_statistics(model).model_stats
    return found.inference_count, found.execution_count, found.inference_stats.success.count


@pytest.mark.parametrize("number", [MAX_ROWS + 1, 5 * MAX_ROWS, 1003])
def test_any_number_of_rows_comes_back_in_order_as_one_answer(client: InferenceServerClient, number: int) -> None:
    before = counts(client, "echo")
    answer = client.infer("echo", [rows(*range(number))]).as_numpy("y")
    np.testing.assert_array_equal(answer, np.repeat(np.arange(number, dtype=np.float32)[:, None], 2, axis=1))
    batches = -(-number // MAX_ROWS)
    wanted = (before[0] + number, before[1] + batches, before[2] + 1)
    assert eventually(lambda: counts(client, "echo"), wanted) == wanted


def test_strings_come_back_in_order(client: InferenceServerClient) -> None:
    texts = np.array([[f"{number} é".encode()] for number in range(30)], object)
    answer = client.infer("text", [given("x", texts)]).as_numpy("y")
    assert answer.tolist() == texts.tolist()


def test_several_inputs_and_outputs_are_divided_alike_and_answered_as_asked(client: InferenceServerClient) -> None:
    metadata = client.get_model_metadata("two")
    a, b = (np.arange(20 * 3, dtype=np.float32).reshape(20, 3) + offset for offset in (0, 100))
    inputs = [given(tensor.name, array) for tensor, array in zip(metadata.inputs, (a, b), strict=True)]
    names = [tensor.name for tensor in metadata.outputs]
    whole = client.infer("two", inputs)
    one_by_one = [
        client.infer("two", [given(t.name, x[row : row + 1]) for t, x in zip(metadata.inputs, (a, b), strict=True)])
        for row in range(20)
    ]
    for name in names:
        np.testing.assert_array_equal(whole.as_numpy(name), np.concatenate([one.as_numpy(name) for one in one_by_one]))
    only = client.infer("two", inputs, outputs=asked(names[1]))
    assert [output.name for output in only.get_response().outputs] == [names[1]]


def test_one_bad_row_fails_the_whole_with_one_status(client: InferenceServerClient) -> None:
    ids = np.zeros((3 * MAX_ROWS, 1), np.int64)
    name = client.get_model_metadata("gather").inputs[0].name
    ids[MAX_ROWS + 2] = 10**6
    with pytest.raises(InferenceServerException) as raised:
        client.infer("gather", [given(name, ids)])
    assert status(raised.value) == "INVALID_ARGUMENT"


def test_a_model_that_is_not_batched_gets_all_rows_at_once(client: InferenceServerClient) -> None:
    tensor = client.get_model_metadata("whole").inputs[0]
    x = np.random.default_rng(0).random((100, 3), np.float32)
    answer = client.infer("whole", [given(tensor.name, x)])
    assert answer.as_numpy(client.get_model_metadata("whole").outputs[0].name).shape[0] == 100


def test_a_declared_limit_is_named_in_the_refusal(client: InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="batch-size must be <= 8 for 'limited', got 9") as raised:
        client.infer("limited", [rows(*range(9))])
    assert status(raised.value) == "INVALID_ARGUMENT"
