"""A value that a model refuses in the middle of a batch: its sender alone hears of it."""

import numpy as np
import pytest

from shoal_testing.at_rest import wait_until_held
from shoal_testing.caller import Array, Caller, request_of
from shoal_testing.gated import gated
from shoal_testing.refusals import assert_refused
from shoal_testing.server import RunningServer

MEMBERS = 7
OUT_OF_RANGE = 99  # the model knows the ids 0 to 7


def ids_of(member: int) -> Array:
    return np.array([[member, (member + 3) % 8, 0]], np.int64)


def message_of(ids: Array) -> bytes:
    return request_of("gather", ids=ids).SerializeToString()


@pytest.mark.parametrize("culprits", [{0}, {3}, {6}, {0, 6}, {2, 3, 4}, set(range(7))], ids=str)
def test_only_the_culprits_fail_and_the_others_are_answered_as_alone(
    server: RunningServer, caller: Caller, culprits: set[int]
) -> None:
    alone = [caller.call(message_of(ids_of(member))).array() for member in range(MEMBERS)]
    with gated(server, "gather") as gate:
        first = caller.begin(message_of(ids_of(0)))
        gate.wait_for_run()
        calls = []
        for member in range(MEMBERS):
            ids = np.where(np.arange(3) == 1, OUT_OF_RANGE, ids_of(member)) if member in culprits else ids_of(member)
            calls.append(caller.begin(message_of(ids)))
            wait_until_held(server, waiting=len(calls))
        gate.open()
        assert first.outcome().status == "OK"
        for member, call in enumerate(calls):
            if member in culprits:
                assert_refused(call.outcome(), "INVALID_ARGUMENT", "Gather", "lookup", str(OUT_OF_RANGE))
            else:
                np.testing.assert_array_equal(call.outcome().array(), alone[member])
        # The whole, then halves of what fails: so many runs at most, the first caller's included.
        assert len(gate.runs) <= 1 + 2 * MEMBERS - 1
        assert len(gate.runs[1]) == MEMBERS, "they were one batch"


def test_poison_again_and_again_leaves_the_model_in_service(server: RunningServer, caller: Caller) -> None:
    poison = message_of(np.full((1, 3), -OUT_OF_RANGE, np.int64))
    calls = [caller.begin(poison) for _ in range(300)]
    good = [caller.begin(message_of(ids_of(member % 8))) for member in range(300)]
    for call in calls:
        assert_refused(call.outcome(), "INVALID_ARGUMENT", "lookup")
    assert {call.outcome().status for call in good} == {"OK"}
    assert wait_until_held(server, requests=0).leases == 0
