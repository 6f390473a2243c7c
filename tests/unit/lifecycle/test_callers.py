"""Loads and unloads of callers who leave, come at once, or ask for what is not there."""

import asyncio

import pytest

from shoal_server.errors import LoadFailed, NotFound
from shoal_server.lifecycle.definition import ModelDefinition
from shoal_testing.fakes import definition
from shoal_testing.manager_rig import LOAD_S, ManagerRig, failing, run_manager


def test_a_load_whose_caller_left_goes_on_to_its_end() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.start_empty()
        load = rig.begin(rig.manager.load("m"))
        await asyncio.sleep(LOAD_S / 2)
        load.cancel()
        await asyncio.sleep(1)
        assert load.cancelled()
        assert rig.slot().version == 1

    run_manager(test, definition())


def test_a_load_whose_caller_left_before_its_turn_is_not_begun_and_the_next_one_is() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.start_empty()
        rig.scripts["m", 1] = rig.pause(1)
        loads = [rig.begin(rig.manager.load("m")) for _ in range(5)]
        await asyncio.sleep(LOAD_S / 2)
        rig.source.models["m"] = definition("m", 2)
        for load in loads[1:4]:
            load.cancel()
        await loads[4]
        assert [load.cancelled() for load in loads] == [False, True, True, True, False]
        assert len(rig.loader.loaded) == 2
        assert rig.slot().version == 2

    run_manager(test, definition())


def test_a_load_that_fails_after_its_caller_left_troubles_nobody() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.start_empty()
        rig.scripts["m", 1] = failing(LoadFailed("truncated"))
        load = rig.begin(rig.manager.load("m"))
        await asyncio.sleep(LOAD_S / 2)
        load.cancel()
        await asyncio.sleep(1)
        assert rig.states() == {1: "failed"}

    run_manager(test, definition())


def test_an_unload_whose_caller_left_goes_on_to_its_end() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        slot = rig.slot()
        slot.lease()
        unload = rig.begin(rig.manager.unload("m"))
        await asyncio.sleep(1)
        unload.cancel()
        await asyncio.sleep(1)
        slot.release()
        await asyncio.sleep(1)
        assert rig.states() == {1: "unloaded"}
        assert rig.loader.loaded[0].closed

    run_manager(test, definition())


def test_loads_of_one_model_happen_in_order_and_the_last_description_wins() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.start_empty()
        slow_describe = rig.source.describe
        delays = [0.5, 0.0]

        def describe(model: str) -> ModelDefinition:
            found = slow_describe(model)
            rig.threads.pause(delays.pop(0))
            return found

        rig.source.describe = describe  # type: ignore[method-assign]
        first = rig.begin(rig.manager.load("m"))
        await asyncio.sleep(0.1)
        rig.source.models["m"] = definition("m", 2)
        await rig.manager.load("m")
        await first
        await asyncio.sleep(1)
        assert rig.states() == {1: "unloaded", 2: "ready"}

    run_manager(test, definition("m", 1))


def test_loads_of_different_models_do_not_wait_for_each_other() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.start_empty()
        rig.scripts["slow", 1] = rig.pause(100)
        slow = rig.begin(rig.manager.load("slow"))
        await rig.manager.load("m")
        assert not slow.done()
        await slow

    run_manager(test, definition("slow"), definition("m"))


def test_loads_of_unknown_models_leave_nothing_behind() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.start_empty()
        for number in range(100):
            with pytest.raises(NotFound):
                await rig.manager.load(f"unknown-{number}")
        held = [
            value
            for part in (rig.manager.turns, rig.manager.keeper)
            for value in vars(part).values()
            if isinstance(value, dict | set | list)
        ]
        assert all(len(value) == 0 for value in held)

    run_manager(test)
