"""Case 12: a member of a running batch leaves; the others get their answers as if nothing had happened."""

import numpy as np
import pytest

from shoal_testing.at_rest import eventually, tasks, wait_until_held
from shoal_testing.caller import Array, Caller, request_of
from shoal_testing.gated import gated
from shoal_testing.server import RunningServer

MEMBERS = 6


def row_of(number: float) -> Array:
    return np.array([[number, -number]], np.float32)


@pytest.mark.parametrize("leaver", range(MEMBERS))
def test_whichever_member_leaves_the_others_are_answered(
    server: RunningServer, idle_tasks: int, caller: Caller, leaver: int
) -> None:
    with gated(server, "pair") as gate:
        first = caller.begin(request_of("pair", x=row_of(-1)).SerializeToString())
        gate.wait_for_run()
        per_call = tasks(server) - idle_tasks
        calls = []
        for number in range(MEMBERS):
            calls.append(caller.begin(request_of("pair", x=row_of(number)).SerializeToString()))
            wait_until_held(server, waiting=len(calls))
        gate.pass_one()
        assert first.outcome().status == "OK"
        gate.wait_for_run()
        assert gate.rows_seen() == {-1.0, *range(MEMBERS)}, "all of them are one running batch"
        eventually(
            server, lambda: tasks(server), lambda count: count == idle_tasks + MEMBERS * per_call, "each is there"
        )
        calls[leaver].cancel()
        others = idle_tasks + (MEMBERS - 1) * per_call
        eventually(server, lambda: tasks(server), lambda count: count == others, "nobody heard of it")
        gate.open()
        for number, call in enumerate(calls):
            if number == leaver:
                assert call.outcome().status == "CANCELLED"
            else:
                np.testing.assert_array_equal(call.outcome().array(), row_of(number))


def test_all_members_leave_while_they_run_and_the_next_batch_is_served(
    server: RunningServer, idle_tasks: int, caller: Caller
) -> None:
    with gated(server, "pair") as gate:
        calls = [caller.begin(request_of("pair", x=row_of(0)).SerializeToString())]
        gate.wait_for_run()
        calls[0].cancel()
        eventually(server, lambda: tasks(server), lambda count: count <= idle_tasks, "nobody heard of it")
        nexts = caller.begin(request_of("pair", x=row_of(1)).SerializeToString())
        wait_until_held(server, waiting=1, running=1)
        gate.open()
        np.testing.assert_array_equal(nexts.outcome().array(), row_of(1))
