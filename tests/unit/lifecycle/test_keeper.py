"""What is kept, for how long, and what is left behind of what is not."""

import asyncio
from dataclasses import replace

import pytest

from shoal_server.errors import LoadFailed, PreconditionFailed, Unavailable
from shoal_server.events import MemoryKept
from shoal_server.lifecycle.definition import VersionPolicy
from shoal_server.lifecycle.desired import Desired
from shoal_server.lifecycle.ports import FileDigest, ResidentMemory
from shoal_server.lifecycle.progress import Result
from shoal_server.lifecycle.requests import Load, Request, Rollback, Swap, Unload
from shoal_testing.fake_model import FakeModel, Kind
from shoal_testing.fakes import FakeStore, definition
from shoal_testing.manager_rig import KEEP_WARM_S, LOAD_S, ManagerRig, run_manager

FIRST = definition("m", 1, 2, 3, policy=VersionPolicy(specific=(1,)))


async def done(rig: ManagerRig, request: Request) -> Result:
    return await rig.manager.operations.begin(request).result()


def close_slowly(rig: ManagerRig, model: FakeModel, pause_s: float) -> None:
    """Have a model's memory given back after that many seconds."""
    close = model.close

    def closing() -> None:
        rig.threads.pause(pause_s)
        close()

    model.close = closing  # type: ignore[method-assign]


def test_a_version_that_breaks_while_a_rollback_to_it_cannot_be_recorded_is_kept_warm_no_more() -> None:
    store = FakeStore(required=True)

    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        first = rig.slot()
        first.lease()
        await done(rig, Swap(model="m", version=2))
        store.before_write, store.trouble, store.trouble_comes_late = rig.pause(5), "the disk is full", True
        rollback = rig.manager.operations.begin(Rollback(model="m"))
        await asyncio.sleep(1)
        rig.engines[0].broken("it hangs")
        with pytest.raises(PreconditionFailed, match="the disk is full"):
            await rollback.result()
        assert (first.state.value, first.kept_until_s) == ("draining", None)
        first.release()

    run_manager(test, FIRST, store=store)


def test_what_is_kept_warm_and_unloaded_before_its_time_is_told_to_be_kept_no_more() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        first = rig.slot()
        first.lease()
        await done(rig, Swap(model="m", version=2))
        unload = rig.manager.operations.begin(Unload(model="m", version=1))
        await asyncio.sleep(1)
        assert (first.state.value, first.kept_until_s) == ("draining", None)
        first.release()
        await unload.result()

    run_manager(test, FIRST)


def test_a_version_that_failed_and_is_loaded_again_is_listed_while_it_loads_and_with_its_new_reason() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        rig.scripts["m", 2] = rig.slowly(0, broken=True)
        with pytest.raises(LoadFailed, match="broken"):
            await done(rig, Load(model="m", version=2))
        failed = rig.slot("2")
        load = rig.manager.operations.begin(Load(model="m", version=2))
        await asyncio.sleep(LOAD_S / 2)
        assert rig.states() == {1: "ready", 2: "loading"}
        with pytest.raises(LoadFailed):
            await load.result()
        assert rig.slot("2") is not failed

    run_manager(test, FIRST)


def test_versions_are_listed_in_order_however_they_came() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        for version in (3, 2):
            await done(rig, Load(model="m", version=version))
        assert [*rig.states()] == [1, 2, 3]
        assert rig.manager.catalog.models["m"].ready == (1, 2, 3)

    run_manager(test, FIRST)


def test_a_description_that_is_mended_is_not_told_as_the_problem_any_more() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        with pytest.raises(Unavailable, match=r"no ready version: model\.toml is wrong"):
            rig.slot()
        rig.source.models["m"] = FIRST
        await rig.manager.load("m")
        rig.engines[0].broken("it hangs")
        with pytest.raises(Unavailable, match="no ready version: version 1 is draining"):
            rig.slot()

    run_manager(test, ("m", LoadFailed("model.toml is wrong")))


def test_a_version_that_is_on_its_way_out_and_wanted_again_is_loaded_anew() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        first = rig.slot()
        first.lease()
        await done(rig, Swap(model="m", version=2))
        await asyncio.sleep(KEEP_WARM_S + 1)
        assert rig.states() == {1: "draining", 2: "ready"}
        assert (await done(rig, Load(model="m", version=1))).changed
        assert rig.slot("1") is not first
        assert rig.states() == {1: "ready", 2: "ready"}
        first.release()

    run_manager(test, FIRST)


def test_a_version_that_is_withdrawn_holds_nothing_back_any_more() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        await done(rig, Swap(model="m", version=2))
        assert [engine.hurried for engine in rig.engines] == [False, False]
        await done(rig, Unload(model="m", version=1))
        assert [engine.hurried for engine in rig.engines] == [True, False]

    run_manager(test, FIRST)


def test_a_swap_that_keeps_nothing_warm_ends_when_the_memory_has_come_back() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        close_slowly(rig, rig.loader.loaded[0], 7.0)
        result = await done(rig, Swap(model="m", version=2, keep_warm_s=0.0))
        assert rig.loader.loaded[0].closed
        assert [step.kind.value for step in result.steps[-2:]] == ["drain", "unload"]
        assert [step.seconds for step in result.steps[-2:]] == pytest.approx([0.0, 7.0])

    run_manager(test, FIRST)


def test_an_unload_of_one_model_does_not_wait_for_the_memory_of_another() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        other = rig.slot(model="n")
        other.lease()
        unload = rig.begin(rig.manager.unload("n"))
        await asyncio.sleep(1)
        await rig.manager.unload("m")
        assert not unload.done()
        other.release()
        await unload

    run_manager(test, FIRST, definition("n"))


def test_nothing_is_left_behind_of_versions_that_are_unloaded() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        for version in (2, 3):
            await done(rig, Swap(model="m", version=version, keep_warm_s=0.0))
        rig.kinds["m", 1] = Kind.TEXT
        with pytest.raises(PreconditionFailed, match="callers of version 3 could not call it"):
            await done(rig, Swap(model="m", version=1))
        await rig.manager.unload("m")
        assert all(slot.loaded is None and slot.engine is None for slot in rig.manager.catalog.slots())
        held = [value for value in vars(rig.manager.keeper).values() if isinstance(value, dict)]
        assert held
        assert not any(held)

    run_manager(test, FIRST)


def test_memory_that_does_not_come_back_while_something_loads_is_not_told() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        [model, _other] = rig.loader.loaded
        model.files = (FileDigest("model.onnx", "00", 100 << 20),)
        rig.resident.now = ResidentMemory(500 << 20, 500 << 20)
        rig.scripts["n", 2] = rig.pause(5)
        loading = rig.manager.operations.begin(Load(model="n", version=2))
        await asyncio.sleep(1)
        await rig.manager.unload("m")
        await asyncio.sleep(0)
        assert rig.observer.of(MemoryKept) == []
        await loading.result()

    run_manager(test, FIRST, definition("n", 1, 2, policy=VersionPolicy(specific=(1,))))


def test_where_nothing_is_known_of_memory_none_is_missed() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        rig.loader.loaded[0].files = (FileDigest("model.onnx", "00", 100 << 20),)
        await rig.manager.unload("m")
        await asyncio.sleep(0)
        assert rig.observer.of(MemoryKept) == []

    run_manager(test, FIRST)


def test_after_a_restart_the_version_before_answers_for_nobody_though_it_is_loaded() -> None:
    store = FakeStore({"m": Desired((1, 2), 2, previous=1)})

    async def test(rig: ManagerRig) -> None:
        rig.scripts["m", 2] = rig.slowly(0, broken=True)
        await rig.manager.start()
        assert rig.states() == {1: "ready", 2: "failed"}
        with pytest.raises(Unavailable, match="version 2 is to, and is failed; ready: 1"):
            rig.slot()
        assert (await done(rig, Rollback(model="m"))).after == 1

    run_manager(test, replace(FIRST, policy=VersionPolicy()), store=store)
