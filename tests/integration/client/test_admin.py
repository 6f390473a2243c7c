"""The admin service: against a server that implements the protocol as a test tells it, and against the real one."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import aclosing
from pathlib import Path
from typing import Any

import grpc
import pytest

from shoal.admin import admin_pb2 as pb
from shoal_client import (
    AsyncClient,
    CallError,
    Client,
    ConfigurationError,
    InvalidInput,
    NotFound,
    OperationResult,
    PreconditionFailed,
    ProtocolError,
    Step,
    Unavailable,
)
from shoal_testing import models
from shoal_testing.fake_server import SOON, Context, FakeServer, fail, serving
from shoal_testing.server import running_server
from shoal_testing.telling_models import plus

Run = Callable[[Coroutine[Any, Any, None]], None]

ADMIN = "/shoal.admin.v1.AdminService/"


def admin_server(**methods: Any) -> FakeServer:  # noqa: ANN401 - methods of any kind
    fake = FakeServer()
    fake.methods.update({ADMIN + name: method for name, method in methods.items()})
    return fake


def step(kind: "pb.Step.Kind.ValueType", seconds: float | None = None) -> pb.OperationUpdate:
    made = pb.Step(kind=kind, version=2, began_s=0.5)
    if seconds is not None:
        made.seconds = seconds
    return pb.OperationUpdate(step=made)


def done() -> pb.OperationUpdate:
    result = pb.OperationResult(
        model="m", previous_version=1, current_version=2, changed=True, seconds=1.5, recorded=True, remarks=["mind"]
    )
    result.steps.add(kind=pb.Step.LOAD, version=2, seconds=1.0)
    result.files.add(name="model.onnx", sha256="ab", size_bytes=7)
    result.memory.before_bytes, result.memory.peak_bytes, result.memory.after_bytes = 1, 3, 2
    return pb.OperationUpdate(result=result)


async def swapping(_request: pb.SwapVersionRequest, _context: Context) -> AsyncIterator[pb.OperationUpdate]:
    yield step(pb.Step.LOAD)
    yield step(pb.Step.LOAD, 1.0)
    yield step(pb.Step.PUBLISH, 0.0)
    yield done()


def test_an_operation_tells_its_steps_and_its_result(run: Run) -> None:
    async def main() -> None:
        async with serving(admin_server(SwapVersion=swapping)) as fake, AsyncClient(fake.address) as client:
            told: list[Step] = []
            result = await client.admin.swap("m", 2, on_step=told.append)
            assert [(found.kind, found.ended) for found in told] == [
                ("LOAD", False),
                ("LOAD", True),
                ("PUBLISH", True),
            ]
            assert isinstance(result, OperationResult)
            assert (result.model, result.previous_version, result.current_version) == ("m", 1, 2)
            assert (result.changed, result.recorded, result.remarks) == (True, True, ("mind",))
            assert (result.steps[0].kind, result.steps[0].seconds) == ("LOAD", 1.0)
            assert (result.files[0].name, result.files[0].size_bytes) == ("model.onnx", 7)
            assert (result.memory_before_bytes, result.memory_peak_bytes, result.memory_after_bytes) == (1, 3, 2)
            operation = client.admin.swap("m", 2)
            assert [found.kind async for found in operation] == ["LOAD", "LOAD", "PUBLISH"]
            assert operation.result == result

    run(main())


def test_a_change_says_everything_and_carries_a_key_of_its_own(run: Run) -> None:
    requests: list[Any] = []

    async def operate(request: Any, _context: Context) -> AsyncIterator[pb.OperationUpdate]:  # noqa: ANN401 - of each
        requests.append(request)
        yield done()

    async def label(request: pb.SetLabelRequest, _context: Context) -> pb.SetLabelResponse:
        requests.append(request)
        return pb.SetLabelResponse(previous_version=1, changed=True)

    async def main() -> None:
        fake = admin_server(
            SwapVersion=operate, LoadVersion=operate, UnloadVersion=operate, Rollback=operate, SetLabel=label
        )
        async with serving(fake), AsyncClient(fake.address) as client:
            admin = client.admin
            await admin.swap(
                "m", 2, keep_warm_s=0, allow_signature_change=True, expected_current_version=1, dry_run=True
            )
            await admin.swap("m", 2, idempotency_key="mine")
            await admin.load("m", 3)
            await admin.unload("m", 1, force=True)
            await admin.rollback("m")
            change = await admin.set_label("m", "canary", 2)
            assert (change.previous_version, change.changed, change.recorded) == (1, True, False)

    run(main())
    first, second, load, unload, rollback, labelled = requests
    assert first.HasField("keep_warm_s")
    assert (first.model, first.version, first.keep_warm_s, first.allow_signature_change) == ("m", 2, 0, True)
    assert (first.change.expected_current_version, first.change.dry_run) == (1, True)
    assert not second.HasField("keep_warm_s")
    assert second.change.idempotency_key == "mine"
    assert (load.version, unload.version, unload.force, rollback.model) == (3, 1, True, "m")
    assert (labelled.label, labelled.version) == ("canary", 2)
    keys = [request.change.idempotency_key for request in requests]
    assert all(keys)
    assert len(set(keys)) == len(keys)


def test_an_operation_whose_connection_breaks_is_followed_by_its_key(run: Run) -> None:
    keys: list[str] = []

    async def breaking(request: pb.SwapVersionRequest, context: Context) -> AsyncIterator[pb.OperationUpdate]:
        keys.append(request.change.idempotency_key)
        yield step(pb.Step.LOAD)
        if len(keys) == 1:
            await fail(context, grpc.StatusCode.UNAVAILABLE, "the connection was lost")
        yield step(pb.Step.LOAD, 1.0)
        yield done()

    async def main() -> None:
        async with serving(admin_server(SwapVersion=breaking)) as fake, AsyncClient(fake.address, retry=SOON) as client:
            told: list[Step] = []
            assert (await client.admin.swap("m", 2, on_step=told.append)).changed
            assert [found.ended for found in told] == [False, True], "what was told is not told again"

    run(main())
    assert len(keys) == 2
    assert keys[0] == keys[1]


def test_a_drain_is_sent_once(run: Run) -> None:
    async def drain(request: pb.DrainRequest, context: Context) -> pb.DrainResponse:
        if not request.undo:
            await fail(context, grpc.StatusCode.UNAVAILABLE, "not now")
        return pb.DrainResponse(requests=3)

    async def main() -> None:
        async with serving(admin_server(Drain=drain)) as fake, AsyncClient(fake.address, retry=SOON) as client:
            with pytest.raises(Unavailable):
                await client.admin.drain(wait_s=1)
            assert fake.calls["Drain"] == 1
            assert await client.admin.drain(undo=True) == 3

    run(main())


def test_a_watch_begins_anew_where_it_breaks(run: Run) -> None:
    async def watching(_request: pb.WatchModelsRequest, context: Context) -> AsyncIterator[pb.ModelEvent]:
        times = fake.calls["WatchModels"]
        yield pb.ModelEvent(model=pb.Model(name="m", current_version=times), caught_up=True)
        await fail(context, grpc.StatusCode.UNAVAILABLE, "draining", "-1" if times == 6 else None)

    fake = admin_server(WatchModels=watching)

    async def main() -> None:
        async with serving(fake), AsyncClient(fake.address, retry=SOON) as client:
            seen: list[int] = []

            async def watch() -> None:
                async for event in client.admin.watch():
                    assert event.model is not None
                    seen.append(event.model.current_version)

            with pytest.raises(Unavailable, match="asks not to come again"):
                await watch()
            assert seen == [1, 2, 3, 4, 5, 6], "more often than one call is tried, since each brought something"

    run(main())


def test_an_operation_without_a_result_is_a_protocol_error(run: Run) -> None:
    async def nothing(_request: pb.RollbackRequest, _context: Context) -> AsyncIterator[pb.OperationUpdate]:
        yield step(pb.Step.PUBLISH)

    async def main() -> None:
        async with serving(admin_server(Rollback=nothing)) as fake, AsyncClient(fake.address) as client:
            with pytest.raises(ProtocolError, match="without a result"):
                await client.admin.rollback("m")

    run(main())


def test_with_several_targets_a_change_names_its_own(run: Run) -> None:
    async def main() -> None:
        first, second = admin_server(SwapVersion=swapping), admin_server(SwapVersion=swapping)
        async with serving(first), serving(second), AsyncClient([first.address, second.address]) as client:
            with pytest.raises(ConfigurationError, match="say which target is meant"):
                _ = client.admin
            with pytest.raises(ConfigurationError, match="say which target is meant"):
                await client.load_model("m")
            with pytest.raises(ConfigurationError, match="none of this client's targets"):
                client.admin_at("elsewhere:1")
            for _ in range(3):
                await client.admin_at(second.address).swap("m", 2)
            assert (first.calls, second.calls) == ({}, {"SwapVersion": 3})

    run(main())


def test_versions_and_keys_that_mean_nothing_are_refused(run: Run) -> None:
    async def main() -> None:
        async with AsyncClient("127.0.0.1:1") as client:
            with pytest.raises(InvalidInput, match="a version is a whole number"):
                await client.admin.swap("m", -1)
            with pytest.raises(InvalidInput, match="at most 128 characters"):
                await client.admin.rollback("m", idempotency_key="k" * 129)

    run(main())


# --- The real server ------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for version in (1, 2):
        models.save(tmp_path, "m", plus(version), version=version)
    (tmp_path / "m" / "model.toml").write_text("[versions]\nspecific = [1]\n")
    return tmp_path


async def answer(client: AsyncClient, version: int | str = "") -> float:
    return float((await client.infer("m", {"x": [0, 0]}, version=version))["y"][0, 0])


def test_the_real_server_swaps_watches_labels_and_rolls_back(folder: Path, run: Run) -> None:
    async def main(address: str) -> None:
        async with AsyncClient(address) as client:
            admin = client.admin
            assert await answer(client) == 1
            async with aclosing(admin.watch("m")) as events:
                first = await anext(events)
                assert first.model is not None
                assert first.model.current_version == 1

                dry = await admin.swap("m", 2, dry_run=True)
                assert not dry.changed
                assert await answer(client) == 1

                told: list[Step] = []
                result = await admin.swap("m", 2, expected_current_version=1, keep_warm_s=60, on_step=told.append)
                assert (result.previous_version, result.current_version, result.changed) == (1, 2, True)
                assert {"LOAD", "PUBLISH"} <= {found.kind for found in told if found.ended}
                assert await answer(client) == 2
                async for event in events:
                    if event.model is not None and event.model.current_version == 2:
                        break

            with pytest.raises(PreconditionFailed) as caught:
                await admin.swap("m", 1, expected_current_version=1)
            assert (caught.value.model, caught.value.target) == ("m", address)
            change = await admin.set_label("m", "canary", 2)
            assert (change.previous_version, change.changed) == (0, True)
            assert await answer(client, "canary") == 2
            back = await admin.rollback("m")
            assert back.current_version == 1
            assert await answer(client) == 1
            found = (await admin.list("m"))[0]
            assert (found.name, found.current_version, found.labels["canary"]) == ("m", 1, 2)
            assert {version.version for version in found.versions if version.state == "READY"} >= {1}
            with pytest.raises(NotFound):
                await admin.list("nobody")

    with running_server(folder) as running:
        run(main(running.address))


def test_the_real_server_takes_the_same_key_once(folder: Path, run: Run) -> None:
    async def main(address: str) -> None:
        async with AsyncClient(address) as client:
            both = await asyncio.gather(*[client.admin.swap("m", 2, idempotency_key="mine") for _ in range(2)])
            assert (both[0].steps, both[0].seconds) == (both[1].steps, both[1].seconds), "one operation, told twice"
            assert both[0].changed
            with pytest.raises(CallError) as caught:
                await client.admin.swap("m", 1, idempotency_key="mine")
            assert caught.value.status == "INVALID_ARGUMENT"

    with running_server(folder) as running:
        run(main(running.address))


def test_a_blocking_client_operates_the_real_server(folder: Path) -> None:
    with running_server(folder) as running, Client(running.address) as client:
        admin = client.admin
        told: list[Step] = []
        assert admin.load("m", 2, on_step=told.append).changed
        assert told
        assert client.infer("m", {"x": [0, 0]}, version=2)["y"][0, 0] == 2
        assert admin.swap("m", 2).current_version == 2
        assert admin.rollback("m").current_version == 1
        admin.set_label("m", "canary", 1)
        events = admin.watch()
        first = next(events)
        assert first.model is not None
        assert first.model.labels["canary"] == 1
        events.close()
        assert [found.name for found in admin.list()] == ["m"]
        assert admin.drain(wait_s=5) == 0
        assert not client.ready()
        admin.drain(undo=True)
        assert client.ready()
        admin.set_label("m", "canary", 0)
        assert admin.unload("m", 1, force=True).changed
