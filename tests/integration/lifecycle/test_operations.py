"""Operations beside each other and beside calls: conflicts, followers who leave, watching, draining."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest

from shoal.admin import admin_pb2 as pb
from shoal.inference import grpc_service_pb2 as pb_inference
from shoal_server.runtime import OrtLoader
from shoal_testing.at_rest import wait_until_held
from shoal_testing.caller import WITHIN_S, request_of
from shoal_testing.gated import gated
from shoal_testing.operator import Operator
from shoal_testing.refusals import assert_refused
from shoal_testing.server import RunningServer, running_server
from shoal_testing.triton import eventually

ZERO = request_of("m", x=np.zeros((1, 2), np.float32))


class HeldLoads:
    """Loads wait until they are let go."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.go = threading.Event()

    def wait_for_load(self) -> None:
        assert self.begun.acquire(timeout=WITHIN_S)


@contextmanager
def held_loads() -> Iterator[HeldLoads]:
    held = HeldLoads()
    load = OrtLoader.load

    def waiting(*arguments: object) -> object:
        held.begun.release()
        assert held.go.wait(WITHIN_S)
        return load(*arguments)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OrtLoader, "load", waiting)
        try:
            yield held
        finally:
            held.go.set()


def test_a_swap_during_a_swap_is_a_conflict_that_names_it_and_the_same_key_joins_it(operator: Operator) -> None:
    change = pb.Change(idempotency_key="k")
    request = pb.SwapVersionRequest(model="m", version=2, change=change)
    with held_loads() as held:
        first = operator.updates(request)
        held.wait_for_load()
        assert operator.models()["m"].operation == "swap to version 2"
        refused = operator.swap("m", 3)
        assert_refused(refused.outcome, "ABORTED", "swap to version 2 of model 'm' has been under way for")
        joined = iter(operator.updates(request))
        assert next(joined).step.kind == pb.Step.DESCRIBE
        first.cancel()
        held.go.set()
        [result] = [update.result for update in joined if update.HasField("result")]
    assert result.current_version == 2
    assert operator.models()["m"].operation == ""


def test_who_follows_a_swap_or_watches_is_told_when_the_server_stops(folder: Path) -> None:
    with running_server(folder) as served, Operator(served.address) as operator, held_loads() as held:
        swap = operator.updates(pb.SwapVersionRequest(model="m", version=2))
        watch = iter(operator.watch())
        assert next(watch).caught_up
        held.wait_for_load()
        stopping = asyncio.run_coroutine_threadsafe(served.server.stop(WITHIN_S), served.loop)
        for stream, text in (
            (swap, "the server is shutting down: nothing has changed, and the same request can be sent to it"),
            (watch, "the server is shutting down"),
        ):
            with pytest.raises(grpc.RpcError) as failed:
                list(stream)
            assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
            assert text in (failed.value.details() or "")
        held.go.set()
        stopping.result(WITHIN_S)


def test_an_operation_whose_caller_left_goes_on_to_its_end(operator: Operator) -> None:
    with held_loads() as held:
        leaving = operator.updates(pb.SwapVersionRequest(model="m", version=2))
        held.wait_for_load()
        leaving.cancel()
        held.go.set()
        assert eventually(lambda: operator.models()["m"].current_version, 2) == 2


def test_a_repository_load_waits_for_a_swap_and_then_follows_the_folder_again(operator: Operator) -> None:
    with held_loads() as held:
        swap = operator.updates(pb.SwapVersionRequest(model="m", version=2, keep_warm_s=0))
        held.wait_for_load()
        message = pb_inference.RepositoryModelLoadRequest(model_name="m").SerializeToString()
        load = operator.begin(message, "/inference.GRPCInferenceService/RepositoryModelLoad")
        assert operator.models()["m"].current_version == 1
        held.go.set()
        assert [update.result.current_version for update in swap if update.HasField("result")] == [2]
        assert load.outcome().status == "OK"
    model = operator.models()["m"]
    assert (model.current_version, dict(model.labels)) == (1, {"stable": 1})
    wanted = {1: "READY", 2: "UNLOADED"}
    assert eventually(lambda: operator.states("m"), wanted) == wanted


def test_those_who_wait_in_the_old_version_are_answered_by_it(operator: Operator, served: RunningServer) -> None:
    with gated(served, "m") as gate:
        call = operator.begin(ZERO.SerializeToString())
        gate.wait_for_run()
        swap = iter(operator.updates(pb.SwapVersionRequest(model="m", version=2, keep_warm_s=0)))
        for update in swap:
            if update.step.kind == pb.Step.DRAIN:
                break
        assert operator.infer(ZERO).answer.model_version == "2"
        assert operator.states("m") == {1: "DRAINING", 2: "READY"}
        assert [version.requests for version in operator.models()["m"].versions] == [1, 0]
        gate.open()
        assert call.outcome().answer.model_version == "1"
        assert [update.result.changed for update in swap if update.HasField("result")] == [True]


def test_a_watch_tells_all_models_and_then_each_that_changed(operator: Operator) -> None:
    watch = operator.watch()
    events = iter(watch)
    first = next(events)
    assert (first.model.name, first.model.current_version, first.caught_up) == ("m", 1, True)
    operator.swap("m", 2)
    seen: list[tuple[int, str]] = []
    while not seen or seen[-1] != (2, ""):
        event = next(events)
        assert event.caught_up
        seen.append((event.model.current_version, event.model.operation))
    assert (1, "swap to version 2") in seen
    watch.cancel()


def test_a_watch_of_a_model_that_nobody_knows_waits_for_it(operator: Operator) -> None:
    watch = operator.watch("later")
    first = next(iter(watch))
    assert (first.HasField("model"), first.caught_up) == (False, True)
    watch.cancel()


def test_a_list_of_an_unknown_model_is_not_found(operator: Operator) -> None:
    message = pb.ListModelsRequest(model="nobody").SerializeToString()
    assert_refused(operator.call(message, "/shoal.admin.v1.AdminService/ListModels"), "NOT_FOUND", "unknown model")


def test_a_drain_lets_nobody_in_waits_and_can_be_undone(operator: Operator, served: RunningServer) -> None:
    with gated(served, "m") as gate:
        call = operator.begin(ZERO.SerializeToString())
        gate.wait_for_run()
        wait_until_held(served, requests=1)
        assert pb.DrainResponse.FromString(operator.drain(0.01).message).requests == 1
        assert_refused(operator.infer(ZERO), "UNAVAILABLE", "draining")
        assert operator.models()["m"].current_version == 1, "an operator is let in"
        gate.open()
        assert pb.DrainResponse.FromString(operator.drain(10).message).requests == 0
        assert call.outcome().status == "OK"
    assert operator.drain(undo=True).status == "OK"
    assert operator.infer(ZERO).status == "OK"


@pytest.mark.parametrize("wait_s", [-1.0, 3601.0, float("nan"), float("inf")])
def test_a_drain_of_an_impossible_time_is_refused(operator: Operator, wait_s: float) -> None:
    assert_refused(operator.drain(wait_s), "INVALID_ARGUMENT", "a drain waits for 0 to 3600 s")
    assert operator.infer(ZERO).status == "OK"
