"""What the tests of the client share."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from blockbuster import BlockBuster

from shoal_testing import models, whole_models
from shoal_testing.server import RunningServer, running_server

Main = Callable[[], Coroutine[Any, Any, None]]


@pytest.fixture(autouse=True)
def _closing_channels_may_block(blockbuster: BlockBuster) -> Iterator[None]:
    """When the last channel of a process goes, grpc.aio waits for its own thread, on whichever loop that happens."""
    blockbuster.deactivate()
    yield
    blockbuster.activate()


@pytest.fixture
def run() -> Callable[[Coroutine[Any, Any, None]], None]:
    """Run a test's coroutine; it hangs no longer than the test's own limit."""
    return asyncio.run


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A real server of some small models."""
    folder = tmp_path_factory.mktemp("models")
    models.save(folder, "FP32", models.identity("FP32"))
    models.save(folder, "gather", models.gather())
    models.save(folder, "scalars", whole_models.scalars())
    models.save(folder, "softmax", whole_models.softmax_over_batch())
    with running_server(folder) as running:
        yield running
