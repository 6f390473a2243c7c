"""grpc.health.v1 by the stock client: the real state of the server and of each model, now and as it changes."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Protocol

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tritonclient.grpc import InferenceServerClient, InferResult
from tritonclient.utils import InferenceServerException

from shoal.health import health_pb2 as ours
from shoal_server.lifecycle.definition import ModelDefinition
from shoal_server.runtime import OrtLoader
from shoal_server.runtime.ort_model import OrtModel
from shoal_server.transport.port import Transport
from shoal_testing import models
from shoal_testing.gated import gated
from shoal_testing.server import RunningServer, running_server
from shoal_testing.transports import transport_classes
from shoal_testing.triton import eventually, rows, save_held, status
from shoal_testing.wire import HEALTH, Answers, Wire

WITHIN_S = 15.0

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


class Health(Protocol):
    """The stock stub, of whose methods its types do not tell."""

    def Check(self, request: health_pb2.HealthCheckRequest, *, timeout: float) -> health_pb2.HealthCheckResponse: ...  # noqa: N802

    def Watch(  # noqa: N802
        self, request: health_pb2.HealthCheckRequest, *, timeout: float
    ) -> Answers[health_pb2.HealthCheckResponse]: ...


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    models.save(folder, "echo", models.identity())
    models.save(folder, "other", models.identity())
    save_held(folder, "held", rows=2)
    broken = folder / "broken" / "1" / "model.onnx"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"no model")
    return folder


@pytest.fixture
def served(folder: Path) -> Iterator[RunningServer]:
    with running_server(folder) as running:
        yield running


@contextmanager
def connected(address: str) -> Iterator[Health]:
    with grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        yield stub


@pytest.fixture
def health(served: RunningServer) -> Iterator[Health]:
    with connected(served.address) as stub:
        yield stub


class Watching:
    """A Watch under way."""

    def __init__(self, health: Health, service: str) -> None:
        self._call = health.Watch(health_pb2.HealthCheckRequest(service=service), timeout=WITHIN_S)

    def next(self) -> int:
        return next(self._call).status

    def until(self, wanted: int) -> list[int]:
        """Return what is told up to the state that is wanted."""
        told = [self.next()]
        while told[-1] != wanted:
            told.append(self.next())
        return told

    def leave(self) -> None:
        self._call.cancel()


def check(health: Health, service: str) -> int:
    return health.Check(health_pb2.HealthCheckRequest(service=service), timeout=WITHIN_S).status


@pytest.mark.parametrize(
    ("service", "wanted"),
    [
        ("", SERVING),
        ("inference.GRPCInferenceService", SERVING),
        ("echo", SERVING),
        ("broken", NOT_SERVING),
    ],
)
def test_check_tells_of_the_server_and_of_each_model(health: Health, service: str, wanted: int) -> None:
    assert check(health, service) == wanted


def test_check_of_what_is_unknown_is_not_found(health: Health) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        check(health, "nobody")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert caught.value.details() == "unknown service or model 'nobody'"


def test_check_follows_a_model_out_of_service_and_back(health: Health, client: InferenceServerClient) -> None:
    client.unload_model("echo")
    assert (check(health, "echo"), check(health, "other"), check(health, "")) == (NOT_SERVING, SERVING, SERVING)
    client.load_model("echo")
    assert check(health, "echo") == SERVING


def test_list_tells_of_everything_at_once(wire: Wire, client: InferenceServerClient) -> None:
    client.unload_model("other")
    listed = wire.call(HEALTH + "List", ours.HealthListRequest(), ours.HealthListResponse)
    assert {name: each.status for name, each in listed.statuses.items()} == {
        "": SERVING,
        "inference.GRPCInferenceService": SERVING,
        "echo": SERVING,
        "held": SERVING,
        "other": NOT_SERVING,
        "broken": NOT_SERVING,
    }


def test_watch_tells_the_state_at_once_and_then_each_change(health: Health, client: InferenceServerClient) -> None:
    watching = Watching(health, "echo")
    assert watching.next() == SERVING
    client.unload_model("echo")
    assert watching.next() == NOT_SERVING
    client.load_model("echo")
    assert watching.next() == SERVING
    watching.leave()


def test_watch_of_what_is_unknown_waits_until_it_is_known(
    health: Health, client: InferenceServerClient, folder: Path
) -> None:
    watching = Watching(health, "late")
    assert watching.next() == SERVICE_UNKNOWN
    models.save(folder, "late", models.identity())
    client.load_model("late")
    # While it is loading, it is known and does not serve; that may be over before it is told.
    assert watching.until(SERVING) in ([SERVING], [NOT_SERVING, SERVING])
    watching.leave()


def test_watch_says_nothing_of_what_does_not_concern_it(health: Health, client: InferenceServerClient) -> None:
    everything, other = Watching(health, ""), Watching(health, "other")
    assert (everything.next(), other.next()) == (SERVING, SERVING)
    client.unload_model("echo")
    client.load_model("echo")
    client.unload_model("other")
    assert other.next() == NOT_SERVING
    everything.leave()


def test_a_new_version_does_not_interrupt_the_service(
    health: Health, client: InferenceServerClient, folder: Path
) -> None:
    watching = Watching(health, "echo")
    assert watching.next() == SERVING
    models.save(folder, "echo", models.identity(), version=2)
    client.load_model("echo")
    client.unload_model("echo")
    assert watching.next() == NOT_SERVING
    watching.leave()


def test_many_watchers_all_hear_of_a_change_and_leave_nothing_behind(
    health: Health, client: InferenceServerClient, served: RunningServer
) -> None:
    before = tasks(served)
    watchers = [Watching(health, "echo") for _ in range(50)]
    assert {watching.next() for watching in watchers} == {SERVING}
    client.unload_model("echo")
    assert {watching.next() for watching in watchers} == {NOT_SERVING}
    for watching in watchers:
        watching.leave()
    assert eventually(lambda: tasks(served) <= before, wanted=True)


def tasks(served: RunningServer) -> int:
    """Return how many tasks the server's loop has."""

    async def count() -> int:
        return len(asyncio.all_tasks())

    return asyncio.run_coroutine_threadsafe(count(), served.loop).result(WITHIN_S)


def test_a_server_that_loads_its_first_models_is_live_and_not_ready(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listening: Future[str] = Future()
    may_load, over = threading.Event(), threading.Event()
    load = OrtLoader.load

    def telling(start: Callable[[Transport], Awaitable[str]]) -> Callable[[Transport], Awaitable[str]]:
        async def told(transport: Transport) -> str:
            address = await start(transport)
            listening.set_result(address)
            return address

        return told

    def held(loader: OrtLoader, definition: ModelDefinition, version: int, warming: Callable[[], None]) -> OrtModel:
        assert may_load.wait(WITHIN_S)
        return load(loader, definition, version, warming)

    def serve() -> None:
        with running_server(folder):
            assert over.wait(WITHIN_S)

    for transport in transport_classes():
        monkeypatch.setattr(transport, "start", telling(transport.start))
    monkeypatch.setattr(OrtLoader, "load", held)
    with ThreadPoolExecutor(1) as threads:
        serving = threads.submit(serve)
        try:
            with InferenceServerClient(listening.result(WITHIN_S)) as client, connected(listening.result()) as health:
                server = Watching(health, "")
                assert server.next() == NOT_SERVING
                assert (check(health, ""), client.is_server_live(), client.is_server_ready()) == (
                    NOT_SERVING,
                    True,
                    False,
                )
                assert client.is_model_ready("echo") is False
                may_load.set()
                assert server.next() == SERVING
                assert (check(health, "echo"), client.is_server_ready()) == (SERVING, True)
                server.leave()
        finally:
            may_load.set()
            over.set()
        serving.result(WITHIN_S)


def test_a_draining_server_serves_no_more_and_says_so_while_it_finishes(
    health: Health, client: InferenceServerClient, served: RunningServer
) -> None:
    server, model = Watching(health, ""), Watching(health, "echo")
    assert (server.next(), model.next()) == (SERVING, SERVING)
    answers: SimpleQueue[tuple[InferResult | None, InferenceServerException | None]] = SimpleQueue()
    with gated(served, "echo") as gate:
        client.async_infer("echo", [rows(1)], lambda result, error: answers.put((result, error)))
        gate.wait_for_run()
        stopping = asyncio.run_coroutine_threadsafe(served.server.stop(WITHIN_S), served.loop)
        assert (server.next(), model.next()) == (NOT_SERVING, NOT_SERVING)
        assert (check(health, ""), check(health, "echo")) == (NOT_SERVING, NOT_SERVING)
        assert client.is_server_live() is True
        assert client.is_server_ready() is False
        with pytest.raises(InferenceServerException) as caught:
            client.infer("echo", [rows(1)])
        assert (status(caught.value), caught.value.message()) == ("UNAVAILABLE", "the server is draining")
        assert client.is_model_ready("echo") is False, "a request for it would not be accepted now"
        assert not stopping.done()
        gate.open()
        result, error = answers.get(timeout=WITHIN_S)
    assert error is None
    assert result is not None
    assert stopping.result(WITHIN_S) is True


def test_a_watch_that_asks_nothing_readable_is_refused(wire: Wire) -> None:
    call = wire.watch(HEALTH + "Watch", b"\xff\xff", ours.HealthCheckResponse)
    assert call.code() is grpc.StatusCode.INVALID_ARGUMENT
