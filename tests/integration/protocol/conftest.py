"""Clients of the server that a module's fixture ``served`` runs."""

from collections.abc import Iterator

import pytest
from tritonclient.grpc import InferenceServerClient

from shoal_testing.server import RunningServer
from shoal_testing.triton import eventually, inside
from shoal_testing.wire import Wire


@pytest.fixture
def client(served: RunningServer) -> Iterator[InferenceServerClient]:
    """The stock client, unmodified."""
    with InferenceServerClient(served.address) as opened:
        yield opened


@pytest.fixture
def wire(served: RunningServer) -> Iterator[Wire]:
    with Wire(served.address) as opened:
        yield opened


@pytest.fixture
def nothing_stays_inside(served: RunningServer) -> Iterator[None]:
    """Whatever a test leaves unanswered, its request is forgotten with its caller."""
    yield
    with InferenceServerClient(served.address) as client:
        assert eventually(lambda: inside(served, client), 0) == 0
