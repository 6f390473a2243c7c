"""Versions unloaded, and the server closed: at once out of the catalog, out of memory after the last lease."""

import asyncio

import pytest

from shoal_server.errors import LoadFailed, NotFound, Unavailable
from shoal_testing.fakes import definition
from shoal_testing.manager_rig import LOAD_S, ManagerRig, changed, run_manager
from shoal_testing.virtual_threads import FOR_EVER


def test_unloading_withdraws_at_once_and_returns_when_the_memory_is_given_back() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        slot = rig.slot("1")
        slot.lease()
        unload = rig.begin(rig.manager.unload("m"))
        await asyncio.sleep(1)
        assert rig.states() == {1: "draining", 2: "unloaded"}  # no version waits for another
        with pytest.raises(Unavailable):
            rig.slot()
        assert not unload.done()
        slot.release()
        await unload
        assert rig.states() == {1: "unloaded", 2: "unloaded"}
        assert all(model.closed for model in rig.loader.loaded)
        await rig.manager.load("m")
        assert rig.slot().version == 2

    run_manager(test, definition("m", 1, 2))


def test_unloading_waits_for_an_older_load_that_still_drains() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        old = rig.slot()
        old.lease()
        rig.source.models["m"] = changed(definition())
        await rig.manager.load("m")
        unload = rig.begin(rig.manager.unload("m"))
        await asyncio.sleep(1)
        assert not unload.done()
        old.release()
        await unload

    run_manager(test, definition())


def test_unloading_twice_is_unloading_once_and_an_unknown_model_is_not_found() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        await asyncio.gather(rig.manager.unload("m"), rig.manager.unload("m"))
        await rig.manager.unload("m")
        with pytest.raises(NotFound, match="unknown model 'other'"):
            await rig.manager.unload("other")

    run_manager(test, definition())


def test_closing_withdraws_everything_at_once_and_waits_for_the_last_lease() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        slot = rig.slot()
        slot.lease()
        closing = rig.begin(rig.manager.close())
        await asyncio.sleep(1)
        with pytest.raises(Unavailable):
            rig.slot()
        assert not closing.done()
        slot.release()
        await closing

    run_manager(test, definition("m", 1, 2), definition("n"))


def test_closing_waits_for_an_unload_that_is_under_way() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        slot = rig.slot()
        slot.lease()
        unload = rig.begin(rig.manager.unload("m"))
        await asyncio.sleep(1)
        closing = rig.begin(rig.manager.close())
        await asyncio.sleep(1)
        assert not closing.done()
        slot.release()
        await closing
        await unload

    run_manager(test, definition())


def test_closing_does_not_wait_for_a_load_and_what_it_loads_is_discarded() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.start_empty()
        loading = rig.begin(rig.manager.load("m"))
        await asyncio.sleep(LOAD_S / 2)
        await rig.manager.close()
        assert not loading.done()
        with pytest.raises(LoadFailed, match="shutting down"):
            await loading
        assert rig.loader.loaded[0].closed
        assert rig.states() == {1: "failed"}

    run_manager(test, definition())


def test_a_closed_manager_loads_nothing_any_more() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.start_empty()
        await rig.manager.close()
        with pytest.raises(Unavailable, match="shutting down"):
            await rig.manager.load("m")
        assert not rig.loader.loaded

    run_manager(test, definition())


def test_a_load_that_hangs_does_not_keep_other_models_nor_the_shutdown() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.start_empty()
        rig.scripts["m", 1] = rig.pause(FOR_EVER)
        hung = rig.begin(rig.manager.load("m"))
        await rig.manager.load("n")
        await rig.manager.close()
        assert rig.states() == {1: "loading"}
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in left:
            task.cancel()
        await asyncio.wait(left)
        assert hung.cancelled()

    run_manager(test, definition("m"), definition("n"))


def test_closing_while_a_swap_is_half_done_waits_for_what_was_replaced_too() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        old = rig.slot()
        old.lease()
        rig.scripts["m", 2] = rig.pause(5)
        rig.source.models["m"] = changed(definition("m", 1, 2))
        load = rig.begin(rig.manager.load("m"))
        await asyncio.sleep(1)
        assert rig.slot() is not old
        closing = rig.begin(rig.manager.close())
        await asyncio.sleep(1)
        assert not closing.done()
        old.release()
        await closing
        assert [model.closed for model in rig.loader.loaded] == [True, True]
        with pytest.raises(LoadFailed, match="shutting down"):
            await load

    run_manager(test, definition("m", 1))
