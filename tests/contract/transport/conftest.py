"""Every test here runs over every transport that can be used on this machine."""

import inspect
from collections.abc import Iterator

import grpc
import pytest

from shoal_server.transport.choice import why_not_native
from shoal_server.transport.grpcio import GrpcioTransport
from shoal_testing.listening import Listening, listening


@pytest.fixture(
    params=[
        "grpcio",
        pytest.param("native", marks=pytest.mark.skipif(bool(why_not_native()), reason=str(why_not_native()))),
    ],
    scope="module",
)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def secure_kind(kind: str) -> str:
    """The same, for tests with TLS."""
    if kind == "grpcio" and "tls" not in inspect.signature(GrpcioTransport.__init__).parameters:
        pytest.skip("this adapter speaks no TLS yet")
    return kind


@pytest.fixture
def served(kind: str) -> Iterator[Listening]:
    with listening(kind) as running:
        yield running


@pytest.fixture
def channel(served: Listening) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(served.address, options=[("grpc.use_local_subchannel_pool", 1)]) as opened:
        yield opened
