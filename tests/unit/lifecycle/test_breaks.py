"""Versions, models and observers that break, and whom that concerns."""

import asyncio

import pytest

from shoal_server.errors import LoadFailed, Unavailable
from shoal_server.events import Event, VersionBroken
from shoal_server.lifecycle.keeper import BUG
from shoal_testing.fakes import definition
from shoal_testing.manager_rig import ManagerRig, changed, failing, run_manager
from shoal_testing.virtual_time import virtual_loop


class Raising:
    """Breaks its contract at every event."""

    def observe(self, event: Event) -> None:
        raise ZeroDivisionError(event)


def test_an_engine_that_is_broken_is_withdrawn_in_the_same_step_and_its_line_answered() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        slot = rig.slot("2")
        slot.lease()
        rig.engines[1].broken("hangs all the time")
        assert rig.slot().version == 1
        assert [str(error) for error in rig.engines[1].failed] == ["version 2 of model 'm': hangs all the time"]
        rig.engines[1].broken("again")
        with pytest.raises(Unavailable, match="version 2 of model 'm' is draining: hangs all the time"):
            slot.lease()
        slot.release()
        await asyncio.sleep(1)
        assert rig.states() == {1: "ready", 2: "unloaded"}
        assert slot.reason == "hangs all the time"
        await rig.manager.load("m")
        assert rig.slot().version == 2

    run_manager(test, definition("m", 1, 2))


def test_who_is_told_that_a_version_broke_does_not_reach_it_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        reached: list[int] = []
        monkeypatch.setattr(rig.engines[1], "fail_waiting", lambda _error: reached.append(rig.slot().version))
        rig.engines[1].broken("hangs all the time")
        assert reached == [1]

    run_manager(test, definition("m", 1, 2))


def test_a_version_that_breaks_while_it_drains_keeps_nobody_waiting() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        slot = rig.slot("2")
        slot.lease()
        rig.source.models["m"] = definition("m", 1)
        await rig.manager.load("m")
        assert rig.states() == {1: "ready", 2: "draining"}
        rig.engines[1].broken("hangs all the time")
        assert [str(error) for error in rig.engines[1].failed] == ["version 2 of model 'm': hangs all the time"]
        slot.release()
        await asyncio.sleep(1)
        assert rig.states() == {1: "ready", 2: "unloaded"}

    run_manager(test, definition("m", 1, 2))


def test_a_version_that_breaks_while_a_load_looks_at_it_is_loaded_again() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        current = rig.loader.loaded[0].is_current

        def slow() -> bool:
            rig.threads.pause(1.0)
            return current()

        rig.loader.loaded[0].is_current = slow  # type: ignore[method-assign]
        load = rig.begin(rig.manager.load("m"))
        await asyncio.sleep(0.5)
        rig.engines[0].broken("hangs")
        await load
        assert rig.slot().version == 1
        assert len(rig.loader.loaded) == 2

    run_manager(test, definition())


def test_a_new_load_that_breaks_before_its_siblings_are_ready_has_replaced_the_old_one_all_the_same() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        rig.scripts["m", 2] = rig.pause(1)
        rig.source.models["m"] = changed(definition("m", 1, 2))
        load = rig.begin(rig.manager.load("m"))
        await asyncio.sleep(0.5)
        rig.engines[1].broken("hangs")
        await load
        await asyncio.sleep(1)
        assert [model.closed for model in rig.loader.loaded] == [True, True, False]

    run_manager(test, definition("m", 1))


def test_a_model_that_cannot_be_closed_is_unloaded_all_the_same_and_holds_up_nobody() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        close = rig.loader.loaded[0].close

        def broken() -> None:
            close()
            raise ZeroDivisionError

        rig.loader.loaded[0].close = broken  # type: ignore[method-assign]
        await rig.manager.unload("m")
        assert rig.states() == {1: "unloaded", 2: "unloaded"}
        assert rig.manager.catalog.models["m"].versions[1].reason == f"unloaded, and closing it failed: {BUG}"
        assert [event.problem[:19] for event in rig.observer.of(VersionBroken)] == ["ZeroDivisionError()"]

    run_manager(test, definition("m", 1, 2))


def test_a_version_that_broke_and_cannot_be_closed_says_that_its_memory_may_not_have_come_back() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        close = rig.loader.loaded[0].close

        def broken() -> None:
            close()
            raise ZeroDivisionError

        rig.loader.loaded[0].close = broken  # type: ignore[method-assign]
        rig.engines[0].broken("hangs all the time")
        await asyncio.sleep(1)
        assert rig.manager.catalog.models["m"].versions[1].reason == f"unloaded, and closing it failed: {BUG}"

    run_manager(test, definition())


def test_an_engine_that_cannot_be_made_fails_the_load() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.start_empty()
        rig.scripts["engine", 0] = failing(ZeroDivisionError())
        with pytest.raises(LoadFailed, match=BUG):
            await rig.manager.load("m")
        assert rig.states() == {1: "failed"}
        assert rig.loader.loaded[0].closed

    run_manager(test, definition())


def test_an_observer_that_raises_changes_nothing() -> None:
    async def test(rig: ManagerRig) -> None:
        raised: list[object] = []
        virtual_loop().set_exception_handler(lambda _loop, context: raised.append(context["exception"]))
        await rig.manager.start()
        rig.source.models["m"] = changed(definition())
        await rig.manager.load("m")
        await asyncio.sleep(1)
        await rig.manager.unload("m")
        assert rig.states() == {1: "unloaded"}
        assert [type(error) for error in raised] == [ZeroDivisionError] * 13

    run_manager(test, definition(), observer=Raising())
