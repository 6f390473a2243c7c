"""Clients that no one here wrote, on every transport that can be used on this machine."""

from collections.abc import Iterator

import pytest

from shoal_server.transport.choice import why_not_native
from shoal_testing import server


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


@pytest.fixture(autouse=True, scope="module")
def _servers_are_of_that_kind(kind: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server, "transport", kind)
        yield
