"""Case 13: all leave. Before they are dispatched, nothing is computed for them; while they run, the run is stopped."""

from collections.abc import Iterator

import numpy as np
import pytest

from shoal_testing import models, whole_models
from shoal_testing.at_rest import batcher_of, on_loop, wait_until_held
from shoal_testing.caller import Caller, request_of
from shoal_testing.gated import gated
from shoal_testing.server import RunningServer, running_server

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


@pytest.fixture(scope="module")
def looping(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("models")
    models.save(folder, "endless", whole_models.endless())
    with running_server(folder, runtime={"slots": 1}) as running:
        yield running


def test_a_run_that_nobody_waits_for_any_more_is_stopped_and_the_next_request_is_served(looping: RunningServer) -> None:
    row = np.ones((1, 2), np.float32)
    with Caller(looping.address) as caller:
        for _ in range(3):
            forever = caller.begin(request_of("endless", x=row, turns=np.array(1 << 40)).SerializeToString())
            wait_until_held(looping, running=1)
            forever.cancel()
            wait_until_held(looping, running=0, requests=0)
        assert caller.infer(request_of("endless", x=row, turns=np.array(2))).array().tolist() == [[3, 3]]
