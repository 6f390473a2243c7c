"""Case 14: a deadline passes while a request waits: it is told so then, and never computed."""

from time import monotonic

import numpy as np
import pytest

from shoal_testing.at_rest import batcher_of, on_loop, wait_until_held
from shoal_testing.caller import Array, Caller, request_of
from shoal_testing.gated import gated
from shoal_testing.refusals import assert_refused
from shoal_testing.server import RunningServer

LATE_S = 2.0  # how late an answer may be on a busy machine


def row_of(number: float) -> Array:
    return np.array([[number, -number]], np.float32)


def test_the_callers_deadline_passes_in_the_queue(server: RunningServer, caller: Caller) -> None:
    with gated(server, "pair") as gate:
        first = caller.begin(request_of("pair", x=row_of(-1)).SerializeToString())
        gate.wait_for_run()
        began_s = monotonic()
        patient = caller.begin(request_of("pair", x=row_of(1)).SerializeToString())
        hasty = [caller.begin(request_of("pair", x=row_of(2)).SerializeToString(), timeout_s=0.2) for _ in range(20)]
        for call in hasty:
            assert call.outcome().status == "DEADLINE_EXCEEDED"
        assert monotonic() - began_s < 0.2 + LATE_S
        held = wait_until_held(server, waiting=1)
        assert held.requests == held.leases == 2, "permits and leases are free at once"
        gate.open()
        assert first.outcome().status == "OK"
        np.testing.assert_array_equal(patient.outcome().array(), row_of(1))
        assert gate.rows_seen() == {-1.0, 1.0}


def test_the_requests_own_timeout_passes_in_the_queue_and_the_text_says_where(
    server: RunningServer, caller: Caller
) -> None:
    batcher = batcher_of(server, "pair")
    failed_before = on_loop(server, lambda: batcher.statistics.fail.count)
    with gated(server, "pair") as gate:
        first = caller.begin(request_of("pair", x=row_of(-1)).SerializeToString())
        gate.wait_for_run()
        request = request_of("pair", x=row_of(3))
        request.parameters["timeout"].int64_param = 100_000
        began_s = monotonic()
        outcome = caller.infer(request)
        assert 0.1 <= monotonic() - began_s < 0.1 + LATE_S
        assert_refused(outcome, "DEADLINE_EXCEEDED", "deadline", "waited")
        gate.open()
        assert first.outcome().status == "OK"
        assert gate.rows_seen() == {-1.0}
    assert on_loop(server, lambda: batcher.statistics.fail.count) == failed_before + 1


@pytest.mark.parametrize("parameter", ["int64_param", "uint64_param"])
def test_one_microsecond_is_as_good_as_over(server: RunningServer, caller: Caller, parameter: str) -> None:
    with gated(server, "pair") as gate:
        first = caller.begin(request_of("pair", x=row_of(-1)).SerializeToString())
        gate.wait_for_run()
        request = request_of("pair", x=row_of(4))
        setattr(request.parameters["timeout"], parameter, 1)
        outcome = caller.infer(request)
        if outcome.status == "RESOURCE_EXHAUSTED":  # where it is already known what the batch before it takes
            assert_refused(outcome, "RESOURCE_EXHAUSTED", "all slots are busy", "it may wait for 0.0 ms")
        else:
            assert_refused(outcome, "DEADLINE_EXCEEDED", "deadline")
        gate.open()
        assert first.outcome().status == "OK"
        assert gate.rows_seen() == {-1.0}
