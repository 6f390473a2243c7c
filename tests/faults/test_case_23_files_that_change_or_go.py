"""Cases 23 and 24, over the wire: files are exchanged, spoilt and taken away under a model that serves."""

import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from shoal.inference import grpc_service_pb2 as pb
from shoal_testing import models, whole_models
from shoal_testing.at_rest import assert_at_rest, wait_until_held
from shoal_testing.caller import Caller, Outcome, request_of
from shoal_testing.gated import gated
from shoal_testing.refusals import assert_refused
from shoal_testing.server import RunningServer, running_server

INFERENCE = "/inference.GRPCInferenceService/"
ROW = np.array([[1, 2, 3]], np.float32)
ONCE = models.identity("FP32", ["N", 3])
TWICE = whole_models.threshold(float("-inf"))  # twice x, whatever x is
REQUEST = request_of("m", x=ROW)
RELOADS = 20


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningServer, Path]]:
    folder = tmp_path_factory.mktemp("repository") / "models"
    models.save(folder, "m", ONCE)
    with running_server(folder, runtime={"slots": 1}) as running:
        yield running, folder


@pytest.fixture
def fresh(home: tuple[RunningServer, Path]) -> Iterator[tuple[RunningServer, Path]]:
    """The server with its repository as it should be."""
    server, folder = home
    shutil.rmtree(folder, ignore_errors=True)
    models.save(folder, "m", ONCE)
    with Caller(server.address) as caller:
        assert load(caller, "m").status == "OK"
        np.testing.assert_array_equal(caller.infer(REQUEST).array(), ROW)
        yield home
    assert_at_rest(server)


def load(caller: Caller, model: str) -> Outcome:
    return caller.call(
        pb.RepositoryModelLoadRequest(model_name=model).SerializeToString(), INFERENCE + "RepositoryModelLoad"
    )


def unload(caller: Caller, model: str) -> Outcome:
    message = pb.RepositoryModelUnloadRequest(model_name=model).SerializeToString()
    return caller.call(message, INFERENCE + "RepositoryModelUnload")


def test_reloads_under_inference_lose_and_mix_nothing(fresh: tuple[RunningServer, Path]) -> None:
    server, folder = fresh
    stop = threading.Event()

    def infer() -> set[float]:
        seen: set[float] = set()
        with Caller(server.address) as caller:
            while not stop.is_set():
                factors = caller.infer(REQUEST).array() / ROW
                assert factors.min() == factors.max(), "of one version"
                seen.add(float(factors.min()))
        return seen

    with Caller(server.address) as caller, ThreadPoolExecutor(3) as threads:
        callers = [threads.submit(infer) for _ in range(3)]
        try:
            for number in range(RELOADS):
                models.save(folder, "m", (TWICE, ONCE)[number % 2])
                assert load(caller, "m").status == "OK"
                expected = (2, 1)[number % 2] * ROW
                np.testing.assert_array_equal(caller.infer(REQUEST).array(), expected, "whoever asks after a load")
        finally:
            stop.set()
        assert set.union(*[future.result() for future in callers]) == {1.0, 2.0}


def test_those_who_wait_while_a_version_is_replaced_are_answered_by_the_one_they_came_to(
    fresh: tuple[RunningServer, Path],
) -> None:
    server, folder = fresh
    with Caller(server.address) as caller, gated(server, "m") as gate:
        calls = [caller.begin(REQUEST.SerializeToString())]
        gate.wait_for_run()
        calls += [caller.begin(REQUEST.SerializeToString()) for _ in range(10)]
        wait_until_held(server, waiting=10)
        models.save(folder, "m", TWICE)
        assert load(caller, "m").status == "OK"
        later = caller.begin(REQUEST.SerializeToString())
        wait_until_held(server, requests=12)
        gate.open()
        for call in calls:
            np.testing.assert_array_equal(call.outcome().array(), ROW)
        np.testing.assert_array_equal(later.outcome().array(), 2 * ROW)


@pytest.mark.parametrize("spoilt", [b"", b"no model", ONCE[:50], models.mlp()[:1000]], ids=len)
def test_a_spoilt_file_fails_its_load_and_the_old_version_serves_on(
    fresh: tuple[RunningServer, Path], spoilt: bytes
) -> None:
    server, folder = fresh
    with Caller(server.address) as caller:
        models.save(folder, "m", spoilt)
        assert_refused(load(caller, "m"), "INVALID_ARGUMENT", "model.onnx")
        np.testing.assert_array_equal(caller.infer(REQUEST).array(), ROW)
        models.save(folder, "m", TWICE)
        assert load(caller, "m").status == "OK"
        np.testing.assert_array_equal(caller.infer(REQUEST).array(), 2 * ROW)


@pytest.mark.parametrize("gone", ["m/1/model.onnx", "m/1", "m", "."])
def test_what_vanishes_serves_on_until_it_is_unloaded(fresh: tuple[RunningServer, Path], gone: str) -> None:
    server, folder = fresh
    with Caller(server.address) as caller:
        path = folder / gone
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
        np.testing.assert_array_equal(caller.infer(REQUEST).array(), ROW)
        refused = load(caller, "m")
        assert refused.status in ("NOT_FOUND", "INVALID_ARGUMENT")
        assert_refused(refused, refused.status)
        np.testing.assert_array_equal(caller.infer(REQUEST).array(), ROW)
        assert unload(caller, "m").status == "OK"
        assert_refused(caller.infer(REQUEST), "UNAVAILABLE", "'m'")


def test_whoever_leaves_a_load_or_an_unload_leaves_no_version_half_way(fresh: tuple[RunningServer, Path]) -> None:
    server, folder = fresh
    with Caller(server.address) as caller:
        for number in range(20):
            models.save(folder, "m", (TWICE, ONCE)[number % 2])
            path, kind = (
                ("RepositoryModelLoad", pb.RepositoryModelLoadRequest),
                ("RepositoryModelUnload", pb.RepositoryModelUnloadRequest),
            )[number // 2 % 2]
            caller.begin(kind(model_name="m").SerializeToString(), INFERENCE + path).cancel()
            caller.call(kind(model_name="m").SerializeToString(), INFERENCE + path, timeout_s=0.002)
        models.save(folder, "m", TWICE)
        assert load(caller, "m").status == "OK"
        np.testing.assert_array_equal(caller.infer(REQUEST).array(), 2 * ROW)
        answer = caller.call(b"", INFERENCE + "RepositoryIndex").message
        [entry] = pb.RepositoryIndexResponse.FromString(answer).models
        assert (entry.name, entry.version, entry.state) == ("m", "1", "READY")


def test_loads_and_unloads_from_all_sides_end_in_a_state_of_the_list(fresh: tuple[RunningServer, Path]) -> None:
    server, folder = fresh
    models.save(folder, "m", TWICE)
    with Caller(server.address) as caller:
        pending = []
        for number in range(100):
            path = INFERENCE + ("RepositoryModelLoad" if number % 3 else "RepositoryModelUnload")
            pending.append(caller.begin(pb.RepositoryModelLoadRequest(model_name="m").SerializeToString(), path))
            pending.append(caller.begin(REQUEST.SerializeToString()))
        assert {call.outcome().status for call in pending} <= {"OK", "UNAVAILABLE"}
        assert load(caller, "m").status == "OK"
        np.testing.assert_array_equal(caller.infer(REQUEST).array(), 2 * ROW)
