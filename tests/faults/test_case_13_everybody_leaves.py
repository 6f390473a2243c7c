"""Case 13: all leave before they are dispatched; nothing is computed for them, and the batcher is idle."""

import numpy as np

from shoal_testing.at_rest import batcher_of, on_loop, wait_until_held
from shoal_testing.caller import Caller, request_of
from shoal_testing.gated import gated
from shoal_testing.server import RunningServer

WAITING = 50


def test_all_leave_before_dispatch_and_the_model_is_not_called(server: RunningServer, caller: Caller) -> None:
    row = np.ones((1, 2), np.float32)
    batcher = batcher_of(server, "pair")
    with gated(server, "pair") as gate:
        first = caller.begin(request_of("pair", x=row).SerializeToString())
        gate.wait_for_run()
        with Caller(server.address) as leaving:
            calls = [leaving.begin(request_of("pair", x=row).SerializeToString()) for _ in range(WAITING)]
            wait_until_held(server, waiting=WAITING)
        assert {call.outcome().status for call in calls} == {"CANCELLED"}, "their channel was closed"
        held = wait_until_held(server, waiting=0)
        assert (held.requests, held.leases, held.running) == (1, 1, 1)
        gate.open()
        assert first.outcome().status == "OK"
        wait_until_held(server, running=0)
        assert len(gate.runs) == 1
    assert on_loop(server, lambda: batcher.waiting) == 0
