"""Answers with NaN or infinity are refused where the owner wants it, on the wire."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from onnx import TensorProto, helper
from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from shoal_server.batching.outcome import Outcome
from shoal_testing import models
from shoal_testing.server import RunningServer, running_server
from shoal_testing.triton import eventually, given, status

ROOT = models.graph(
    [helper.make_node("Sqrt", ["x"], ["y"])],
    [("x", TensorProto.FLOAT, ["N", 1])],
    [("y", TensorProto.FLOAT, ["N", 1])],
)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("models")
    for name, more in (("root", "[answers]\nnan_guard = true\n"), ("plain", "")):
        path = models.save(folder, name, ROOT)
        options = '[batching]\nmode = "always"\ndelay_ms = 600000\nmax_rows = 3\n'
        path.parents[1].joinpath("model.toml").write_text(options + more)
    with running_server(folder) as running:
        yield running


def together(client: InferenceServerClient, model: str, *values: float) -> list[float | str]:
    """Ask for each alone, all in one batch; return answers and statuses."""

    def ask(value: float) -> float | str:
        try:
            answer = client.infer(model, [given("x", np.array([[value]], np.float32))])
        except InferenceServerException as error:
            return f"{status(error)}: {error.message()}"
        return float(answer.as_numpy("y")[0, 0])

    with ThreadPoolExecutor(len(values)) as callers:
        return list(callers.map(ask, values))


def test_the_caller_of_the_row_is_refused_and_its_batch_mates_are_answered(
    client: InferenceServerClient, served: RunningServer
) -> None:
    before = refused(served)
    assert together(client, "root", 4.0, -1.0, 9.0) == [
        2.0,
        "OUT_OF_RANGE: output 'y' has NaN or infinity in row 0, and no input has any",
        3.0,
    ]
    assert eventually(lambda: client.is_server_live() and refused(served), before + 1) == before + 1


def test_nan_in_is_nan_out_and_without_the_guard_anything_is(client: InferenceServerClient) -> None:
    assert str(together(client, "root", 4.0, np.nan, np.inf)) == "[2.0, nan, inf]"
    assert str(together(client, "plain", 4.0, -1.0, 9.0)) == "[2.0, nan, 3.0]"


def refused(served: RunningServer) -> int:
    slot = served.server.manager.catalog.resolve("root", "")
    return slot.serving().statistics.failures[Outcome.NOT_FINITE]
