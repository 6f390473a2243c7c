"""Case 15: a deadline that cannot be met, and none at all."""

from collections.abc import Iterator
from time import monotonic

import numpy as np
import pytest

from shoal_server.batching.ticket import Ticket
from shoal_server.errors import DeadlineExceeded
from shoal_server.transport.port import Status
from shoal_testing import models
from shoal_testing.at_rest import batcher_of, eventually, on_loop, wait_until_held
from shoal_testing.caller import INFER, Array, Caller, request_of
from shoal_testing.gated import gated
from shoal_testing.http2 import RawHttp2, grpc_message
from shoal_testing.refusals import assert_refused
from shoal_testing.server import RunningServer, running_server


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server that lets nobody without a deadline wait for longer than 0.2 s."""
    folder = tmp_path_factory.mktemp("models")
    models.save(folder, "pair", models.identity("FP32", ["N", 2]))
    with running_server(folder, runtime={"slots": 1}, batching={"default_timeout_s": 0.2}) as running:
        yield running


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server whose model takes some tens of milliseconds."""
    folder = tmp_path_factory.mktemp("models")
    models.save(folder, "slow", models.slow())
    with running_server(folder, runtime={"slots": 1}) as running:
        yield running


def row_of(number: float) -> Array:
    return np.array([[number, -number]], np.float32)


def test_a_deadline_before_the_service_could_end_is_expired_and_never_computed_from_the_queue(
    server: RunningServer, caller: Caller
) -> None:
    """The model is busy for longer than any of these may take, as it was for the one before."""
    with gated(server, "pair") as gate:
        first = caller.begin(request_of("pair", x=row_of(-1)).SerializeToString())
        gate.wait_for_run()
        calls = [
            caller.begin(request_of("pair", x=row_of(1)).SerializeToString(), timeout_s=0.001 * milliseconds)
            for milliseconds in range(1, 100)
        ]
        # RESOURCE_EXHAUSTED: while the batch before should still run, it is known that these cannot be in time.
        assert {call.outcome().status for call in calls} <= {"DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"}
        wait_until_held(server, requests=1)
        gate.open()
        assert first.outcome().status == "OK"
        assert gate.rows_seen() == {-1.0}


def test_a_deadline_that_has_passed_on_the_way_is_refused_at_the_door(server: RunningServer) -> None:
    with RawHttp2(server.address) as connection:
        stream = connection.begin(INFER, ("grpc-timeout", "0n"))
        connection.write(stream, grpc_message(request_of("pair", x=row_of(1)).SerializeToString()), end=True)
        assert connection.status(stream) == Status.DEADLINE_EXCEEDED


def test_a_deadline_shorter_than_what_the_model_takes_is_refused_at_the_door(slow: RunningServer) -> None:
    running = slow
    x = np.ones((256, 512), np.float32)
    with Caller(running.address) as caller:
        batcher = batcher_of(running, "slow")
        took_s = 0.0
        for _ in range(3):
            assert caller.infer(request_of("slow", x=x)).status == "OK"
            took_s = on_loop(running, lambda: batcher.forecast.execution_s(256))
        before = on_loop(running, lambda: batcher.statistics.execution_count)
        # The caller's own clock ends the call at the same time, so the server's text is read on the server.
        refused: list[str] = []
        original = batcher.offer

        def overheard(ticket: Ticket) -> None:
            try:
                original(ticket)
            except DeadlineExceeded as error:
                refused.append(str(error))
                raise

        on_loop(running, lambda: setattr(batcher, "offer", overheard))
        assert caller.infer(request_of("slow", x=x), timeout_s=0.7 * took_s).status == "DEADLINE_EXCEEDED"
        eventually(running, lambda: len(refused), lambda count: count == 1, "it was not refused at the door")
        assert "the model takes" in refused[0]
        assert on_loop(running, lambda: batcher.statistics.execution_count) == before


def test_without_a_deadline_the_servers_own_limit_holds(impatient: RunningServer) -> None:
    server = impatient
    with Caller(server.address) as caller, gated(server, "pair") as gate:
        first = caller.begin(request_of("pair", x=row_of(-1)).SerializeToString(), timeout_s=None)
        gate.wait_for_run()
        began_s = monotonic()
        outcome = caller.infer(request_of("pair", x=row_of(1)), timeout_s=None)
        assert monotonic() - began_s >= 0.2
        assert_refused(outcome, "DEADLINE_EXCEEDED", "deadline", "waited")
        longer = caller.begin(request_of("pair", x=row_of(2)).SerializeToString(), timeout_s=10)
        wait_until_held(server, waiting=1)
        gate.open()
        np.testing.assert_array_equal(first.outcome().array(), row_of(-1))
        np.testing.assert_array_equal(longer.outcome().array(), row_of(2))
        assert gate.rows_seen() == {-1.0, 2.0}
