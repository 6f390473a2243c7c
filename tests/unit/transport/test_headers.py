"""Headers are found in the same way with and without the native crate; see also the contract of the transports."""

import sys
from typing import Any

import pytest

from shoal_server.transport.choice import why_not_native
from shoal_server.transport.headers import header_finder


class Called:
    """A call of whichever transport."""

    def __init__(self, *metadata: tuple[str, str | bytes]) -> None:
        self.metadata = metadata


@pytest.mark.parametrize("native", [True, False])
def test_the_first_value_is_found_where_there_is_one(native: bool, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: FBT001
    if not native:
        monkeypatch.setitem(sys.modules, "shoal_native", None)
    elif why_not_native():
        pytest.skip(str(why_not_native()))
    calls: Any = [Called(), Called(("a", "1"), ("b", b"2"), ("b", "3")), Called(("a", "4")), Called(("b", ""))]
    find = header_finder()
    assert list(find(calls, "b")) == [(1, b"2"), (3, "")]
    assert list(find([], "b")) == []
