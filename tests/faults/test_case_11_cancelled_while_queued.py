"""Case 11: who leaves the queue is never computed, and the place is free at once."""

from random import Random

import numpy as np
import pytest

from shoal_testing.at_rest import wait_until_held
from shoal_testing.caller import INFER, Array, Caller, request_of
from shoal_testing.gated import gated
from shoal_testing.http2 import RawHttp2
from shoal_testing.server import RunningServer


def row_of(number: float) -> Array:
    return np.array([[number, -number]], np.float32)


def message_of(number: float) -> bytes:
    return request_of("pair", x=row_of(number)).SerializeToString()


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_who_leaves_the_queue_is_never_computed_and_the_others_are(
    server: RunningServer, caller: Caller, seed: int, share: float
) -> None:
    random = Random(seed)
    with gated(server, "pair") as gate:
        first = caller.begin(message_of(-1))
        gate.wait_for_run()
        calls = [caller.begin(message_of(number)) for number in range(100)]
        wait_until_held(server, requests=101, waiting=100)
        leaving = {number for number in range(100) if random.random() < share}
        for number in sorted(leaving, key=lambda _: random.random()):
            calls[number].cancel()
        held = wait_until_held(server, waiting=100 - len(leaving))
        assert held.requests == held.leases == 101 - len(leaving), "permits and leases are free at once"
        gate.open()
        assert first.outcome().status == "OK"
        for number in set(range(100)) - leaving:
            np.testing.assert_array_equal(calls[number].outcome().array(), row_of(number))
        assert gate.rows_seen() == {-1.0} | set(range(100)) - leaving


def test_a_storm_of_cancels_leaves_room_for_the_next(server: RunningServer, caller: Caller) -> None:
    with gated(server, "pair") as gate:
        first = caller.begin(message_of(-2))
        gate.wait_for_run()
        # Not before: who leaves at once may have been dispatched, and would be what runs.
        caller.begin(message_of(-1)).cancel()
        for _ in range(20):
            calls = [caller.begin(message_of(number)) for number in range(50)]
            for call in calls:
                call.cancel()
        # Three rows, by which it is told from one of the others whose cancel has not come yet.
        three = np.repeat(row_of(1000), 3, axis=0)
        last = caller.begin(request_of("pair", x=three).SerializeToString())
        wait_until_held(server, requests=2, rows=4, waiting=1)
        gate.open()
        assert first.outcome().status == "OK"
        np.testing.assert_array_equal(last.outcome().array(), three)
        assert not gate.rows_seen() & set(range(-1, 50)), "somebody was computed who had left"


def test_a_stream_reset_in_the_very_packet_of_its_request_is_no_request(server: RunningServer, caller: Caller) -> None:
    """The flood of CVE-2023-44487: a call and its end, again and again, in one write."""
    with gated(server, "pair") as gate, RawHttp2(server.address) as connection:
        first = caller.begin(message_of(-1))
        gate.wait_for_run()
        for _ in range(10):
            connection.send(
                b"".join([connection.whole_call(INFER, message_of(number), leave=True) for number in range(100)])
            )
        three = np.repeat(row_of(1000), 3, axis=0)  # see above
        last = caller.begin(request_of("pair", x=three).SerializeToString())
        wait_until_held(server, requests=2, rows=4, waiting=1)
        gate.open()
        assert first.outcome().status == "OK"
        np.testing.assert_array_equal(last.outcome().array(), three)
        assert gate.rows_seen() == {-1.0, 1000.0}
