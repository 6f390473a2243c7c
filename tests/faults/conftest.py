"""One server for all tests of a worker: whatever is done to it, it must be as good as new for the next."""

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from shoal_testing import models
from shoal_testing.at_rest import assert_at_rest, eventually, tasks
from shoal_testing.caller import Caller, request_of
from shoal_testing.server import RunningServer, running_server

VALID = request_of("pair", x=np.array([[3, 4]], np.float32))


class Complaints(logging.Handler):
    """Keeps what was logged as an error: nothing that a caller does is one of ours."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))


def save_models(folder: Path) -> None:
    """Write the models of these tests into a repository."""
    models.save(folder, "pair", models.identity("FP32", ["N", 2]))
    models.save(folder, "any", models.identity("FP32", None))
    models.save(folder, "text", models.identity("BYTES", ["N", 1]))
    models.save(folder, "vector", models.vector())
    models.save(folder, "two", models.two_inputs_two_outputs())
    models.save(folder, "types", models.all_types())
    models.save(folder, "gather", models.gather())
    models.save(folder, "masked", models.masked())
    path = models.save(folder, "limited", models.identity("FP32", ["N", 2]))
    path.parents[1].joinpath("config.pbtxt").write_text('backend: "onnxruntime"\nmax_batch_size: 4\n')
    path = models.save(folder, "short", models.identity("FP32", ["N", 2]))
    path.parents[1].joinpath("model.toml").write_text("[batching]\nmax_queued_requests = 8\n")


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One thread computes, so that whatever comes while it is busy has to wait."""
    folder = tmp_path_factory.mktemp("models")
    save_models(folder)
    with running_server(folder, runtime={"slots": 1}) as running:
        yield running


@pytest.fixture(scope="session")
def idle_tasks(served: RunningServer) -> int:
    """How many tasks the server's loop has when nobody calls."""
    return tasks(served)


@pytest.fixture
def complaints() -> Iterator[Complaints]:
    """What the server and its libraries log as errors while the test runs."""
    handler = Complaints()
    logging.getLogger().addHandler(handler)
    yield handler
    logging.getLogger().removeHandler(handler)


@pytest.fixture
def server(served: RunningServer, idle_tasks: int, complaints: Complaints) -> Iterator[RunningServer]:
    """The server; after the test it must be alive, hold nothing, and have blamed itself for nothing."""
    yield served
    assert_at_rest(served)
    with Caller(served.address) as caller:
        np.testing.assert_array_equal(caller.infer(VALID).array(), [[3, 4]])
    assert_at_rest(served)
    eventually(served, lambda: tasks(served), lambda count: count <= idle_tasks, "tasks are left")
    assert complaints.texts == []


@pytest.fixture
def caller(server: RunningServer) -> Iterator[Caller]:
    """A caller of the server."""
    with Caller(server.address) as opened:
        yield opened
