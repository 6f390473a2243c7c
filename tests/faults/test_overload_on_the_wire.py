"""More than can be answered: everybody is told the same, at once, and counted, whoever it was that refused them."""

from collections import Counter
from time import monotonic

import numpy as np

from shoal_testing.at_rest import batcher_of, eventually, on_loop
from shoal_testing.caller import Array, Caller, request_of
from shoal_testing.gated import gated
from shoal_testing.refusals import assert_refused
from shoal_testing.server import RunningServer

AT_ONCE = 64
TURNS = 20
PATIENCE_S = 10.0


def row_of(number: float) -> Array:
    return np.array([[number, -number]], np.float32)


def test_refusals_of_a_full_line_are_all_alike_and_all_counted(server: RunningServer, caller: Caller) -> None:
    batcher = batcher_of(server, "short")
    refused_before = on_loop(server, lambda: sum(batcher.statistics.queue_refusals.values()))
    bound = batcher.options.max_queued_requests
    with gated(server, "short") as gate:
        message = request_of("short", x=row_of(1)).SerializeToString()
        inside = [caller.begin(message, timeout_s=60.0)]
        gate.wait_for_run()
        inside += [caller.begin(message, timeout_s=60.0) for _ in range(bound)]
        eventually(server, lambda: batcher.waiting, lambda waiting: waiting == bound, "the line is full")
        began_s, statuses = monotonic(), Counter[str]()
        for _ in range(TURNS):
            for call in [caller.begin(message, timeout_s=60.0) for _ in range(AT_ONCE)]:
                outcome = call.outcome()
                statuses[outcome.status] += 1
                assert_refused(outcome, "RESOURCE_EXHAUSTED", "'short' is overloaded", "requests are waiting")
        assert statuses == {"RESOURCE_EXHAUSTED": TURNS * AT_ONCE}
        assert monotonic() - began_s < PATIENCE_S, "nobody waited for the model"
        eventually(
            server,
            lambda: sum(batcher.statistics.queue_refusals.values()) - refused_before,
            lambda refused: refused == TURNS * AT_ONCE,
            "all are counted",
        )
        gate.open()
        assert {call.outcome(PATIENCE_S).status for call in inside} == {"OK"}
    assert caller.infer(request_of("short", x=row_of(2))).status == "OK", "what held is over"
