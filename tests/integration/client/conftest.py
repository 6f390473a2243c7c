"""What the tests of the client share."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from blockbuster import BlockBuster

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
