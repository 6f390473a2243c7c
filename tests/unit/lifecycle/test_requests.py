"""What operators may ask for, and what makes no sense."""

from collections.abc import Callable

import pytest

from shoal_server.errors import InvalidRequest
from shoal_server.lifecycle.requests import Load, Request, Rollback, SetLabel, Swap, Unload


@pytest.mark.parametrize(
    ("ask", "why"),
    [
        (lambda: Rollback(model=""), "a change names its model"),
        (lambda: Rollback(model="m", key="k" * 129), "has at most 128 characters"),
        (lambda: Rollback(model="m", expected=-1), "an expected version is above 0, or 0 for any, got -1"),
        (lambda: Swap(model="", version=2), "names its model"),
        (lambda: Swap(model="m", version=0), "a version is above 0, got 0"),
        (lambda: Load(model="m", version=-2), "a version is above 0, got -2"),
        (lambda: Unload(model="m", version=-1), "a version is above 0, got -1"),
        (lambda: Swap(model="m", version=1, keep_warm_s=float("nan")), "is kept warm for 0 to 864000 s, got nan"),
        (lambda: Swap(model="m", version=1, keep_warm_s=float("inf")), "got inf"),
        (lambda: Swap(model="m", version=1, keep_warm_s=-0.1), "got -0.1"),
        (lambda: SetLabel(model="m", label="stable", version=1), "'stable' follows the swaps"),
        (lambda: SetLabel(model="m", label="previous", version=0), "'previous' follows the swaps"),
        (lambda: SetLabel(model="m", label="1st", version=1), "begins with a letter"),
        (lambda: SetLabel(model="m", label="x" * 64, version=1), "has at most 63 characters"),
        (lambda: SetLabel(model="m", label="blue", version=-1), "above 0, or with 0 for none, got -1"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(ask: Callable[[], Request], why: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        ask()
    assert why in str(refusal.value)


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (Swap(model="m", version=2, keep_warm_s=864_000.0), "swap to version 2"),
        (Load(model="m", version=3), "load of version 3"),
        (Unload(model="m", version=4), "unload of version 4"),
        (Rollback(model="m", key="k" * 128), "rollback"),
        (SetLabel(model="m", label="x" * 63, version=1), "label to version 1"),
        (SetLabel(model="m", label="blue", version=0), "label"),
    ],
)
def test_a_change_is_called_by_what_it_does(request_: Request, words: str) -> None:
    assert str(request_) == words
