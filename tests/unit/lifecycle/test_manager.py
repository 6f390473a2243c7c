"""Loading, swapping and unloading over a fake engine, on virtual time."""

import asyncio
from dataclasses import replace

import pytest

from shoal_server.errors import LoadFailed, NotFound, ShoalError, Unavailable
from shoal_server.events import Event, ModelRemarked, VersionBroken
from shoal_server.lifecycle.definition import ModelDefinition
from shoal_server.lifecycle.keeper import BUG
from shoal_server.options import BatchingOptions
from shoal_testing.fakes import definition
from shoal_testing.manager_rig import LOAD_S, ManagerRig, changed, failing, run_manager
from shoal_testing.virtual_threads import FOR_EVER
from shoal_testing.virtual_time import virtual_loop


class Raising:
    """Breaks its contract at every event."""

    def observe(self, event: Event) -> None:
        raise ZeroDivisionError(event)


def test_at_the_start_everything_is_loaded_at_once_and_what_fails_is_listed_with_its_reason() -> None:
    async def test(rig: ManagerRig) -> None:
        rig.scripts["m", 2] = failing(LoadFailed("the file is truncated"))
        rig.scripts["crash", 1] = failing(ZeroDivisionError("oh"))
        await rig.manager.start()
        assert virtual_loop().time() == pytest.approx(1000.0 + LOAD_S)  # side by side
        assert rig.states() == {1: "ready", 2: "failed"}
        assert rig.manager.catalog.models["m"].versions[2].reason == "version 2 of model 'm': the file is truncated"
        assert rig.states("crash") == {1: "failed"}
        assert rig.manager.catalog.models["crash"].versions[1].reason == f"version 1 of model 'crash': {BUG}"
        [broken] = rig.observer.of(VersionBroken)
        assert (broken.model, broken.version) == ("crash", 1)
        assert broken.problem.startswith("ZeroDivisionError('oh'), line ")
        with pytest.raises(Unavailable, match="no ready version: nonsense in config"):
            rig.manager.catalog.resolve("bad", "")
        assert rig.slot().version == 1

    run_manager(test, definition("m", 1, 2), definition("crash"), ("bad", LoadFailed("nonsense in config")))


def test_while_a_model_loads_for_the_first_time_it_is_listed_but_not_served() -> None:
    async def test(rig: ManagerRig) -> None:
        starting = rig.begin(rig.manager.start())
        await asyncio.sleep(LOAD_S / 2)
        assert rig.states() == {1: "loading"}
        with pytest.raises(Unavailable, match="version 1 is loading"):
            rig.slot()
        await starting

    run_manager(test, definition())


def test_a_source_that_cannot_be_read_fails_the_start() -> None:
    async def test(rig: ManagerRig) -> None:
        rig.source.scan = failing(LoadFailed("no such folder"))  # type: ignore[method-assign,assignment]
        with pytest.raises(LoadFailed, match="no such folder"):
            await rig.manager.start()

    run_manager(test)


def test_loading_again_what_serves_unchanged_does_nothing() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        await rig.manager.load("m")
        assert len(rig.loader.loaded) == 1

    run_manager(test, definition())


@pytest.mark.parametrize("change", ["file", "options"])
def test_a_swap_publishes_the_new_load_before_it_withdraws_the_old_and_loses_no_lease(change: str) -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        old = rig.slot()
        engine = old.lease()
        if change == "file":
            rig.loader.loaded[0].current = False
        else:
            rig.source.models["m"] = changed(definition())
        swap = rig.begin(rig.manager.load("m"))
        await asyncio.sleep(LOAD_S / 2)
        assert rig.slot() is old  # serves while the new one loads
        await swap
        new = rig.slot()
        assert new is not old
        assert new.uid != old.uid
        assert old.state.value == "draining"
        assert not engine.closed
        await asyncio.sleep(10)
        assert not rig.loader.loaded[0].closed  # a leased model is never unloaded
        old.release()
        await asyncio.sleep(1)
        assert old.state.value == "unloaded"
        assert rig.loader.loaded[0].closed

    run_manager(test, definition())


def test_versions_no_longer_wanted_leave_once_every_wanted_one_is_ready() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        rig.source.models["m"] = definition("m", 2, 3)
        swap = rig.begin(rig.manager.load("m"))
        await asyncio.sleep(LOAD_S / 2)
        assert rig.states() == {1: "ready", 2: "ready", 3: "loading"}
        await swap
        await asyncio.sleep(1)
        assert rig.states() == {1: "unloaded", 2: "ready", 3: "ready"}
        assert len(rig.loader.loaded) == 3  # version 2 stayed as it was

    run_manager(test, definition("m", 1, 2))


def test_a_failed_load_leaves_everything_that_serves() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        before = [rig.slot("1"), rig.slot("2")]
        rig.scripts["m", 2] = rig.scripts["m", 3] = failing(LoadFailed("truncated"))
        rig.source.models["m"] = changed(definition("m", 2, 3))
        with pytest.raises(LoadFailed) as failure:
            await rig.manager.load("m")
        assert str(failure.value) == "version 2 of model 'm': truncated; version 3 of model 'm': truncated"
        assert [rig.slot("1"), rig.slot("2")] == before
        assert rig.states() == {1: "ready", 2: "ready", 3: "failed"}
        rig.scripts.clear()
        await rig.manager.load("m")
        await asyncio.sleep(1)
        assert rig.states() == {1: "unloaded", 2: "ready", 3: "ready"}

    run_manager(test, definition("m", 1, 2))


@pytest.mark.parametrize(
    ("described", "error"), [(None, NotFound), (LoadFailed("nonsense"), LoadFailed)], ids=["gone", "nonsense"]
)
def test_a_description_that_cannot_be_had_fails_the_load_and_touches_nothing(
    described: LoadFailed | None, error: type[ShoalError]
) -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        if described is None:
            del rig.source.models["m"]
        else:
            rig.source.models["m"] = described
        with pytest.raises(error):
            await rig.manager.load("m")
        assert rig.states() == {1: "ready"}

    run_manager(test, definition())


def test_a_model_that_could_not_be_described_serves_after_it_was_mended() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        rig.source.models["m"] = definition()
        await rig.manager.load("m")
        assert rig.slot().version == 1

    run_manager(test, ("m", LoadFailed("nonsense")))


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


def test_a_load_whose_caller_left_goes_on_to_its_end() -> None:
    async def test(rig: ManagerRig) -> None:
        load = rig.begin(rig.manager.load("m"))
        await asyncio.sleep(LOAD_S / 2)
        load.cancel()
        await asyncio.sleep(1)
        assert load.cancelled()
        assert rig.slot().version == 1

    run_manager(test, definition())


def test_a_load_whose_caller_left_before_its_turn_is_not_begun_and_the_next_one_is() -> None:
    async def test(rig: ManagerRig) -> None:
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
        rig.scripts["slow", 1] = rig.pause(100)
        slow = rig.begin(rig.manager.load("slow"))
        await rig.manager.load("m")
        assert not slow.done()
        await slow

    run_manager(test, definition("slow"), definition("m"))


def test_loads_of_unknown_models_leave_nothing_behind() -> None:
    async def test(rig: ManagerRig) -> None:
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


def test_what_the_owner_should_know_of_a_description_is_told_each_time_it_is_read() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        await rig.manager.load("m")
        assert rig.observer.of(ModelRemarked) == [ModelRemarked("m", "a field is unknown")] * 2

    run_manager(test, replace(definition(), warnings=("a field is unknown",)))


def test_a_version_that_is_being_written_anew_serves_on_and_is_listed_with_the_reason() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        serving = rig.slot("2")
        rig.source.models["m"] = replace(definition("m", 1), refused={2: "half written", 3: "half written"})
        with pytest.raises(LoadFailed, match="version 3 of model 'm' is not served: half written"):
            await rig.manager.load("m")
        await asyncio.sleep(1)
        assert rig.slot() is serving
        assert rig.manager.catalog.models["m"].refused == {2: "half written", 3: "half written"}
        rig.source.models["m"] = definition("m", 1, 3)
        await rig.manager.load("m")
        await asyncio.sleep(1)
        assert rig.states() == {1: "ready", 2: "unloaded", 3: "ready"}
        assert rig.manager.catalog.models["m"].refused == {}

    run_manager(test, definition("m", 1, 2))


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
        await rig.manager.close()
        with pytest.raises(LoadFailed, match="shutting down"):
            await rig.manager.load("m")
        assert not rig.loader.loaded

    run_manager(test, definition())


def test_a_load_that_hangs_does_not_keep_other_models_nor_the_shutdown() -> None:
    async def test(rig: ManagerRig) -> None:
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


def test_an_engine_that_is_broken_is_withdrawn_in_the_same_step_and_its_line_answered() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        slot = rig.slot("2")
        slot.lease()
        rig.engines[1].broken("hangs all the time")
        assert rig.slot().version == 1
        assert [str(error) for error in rig.engines[1].failed] == ["version 2 of model 'm': hangs all the time"]
        rig.engines[1].broken("again")
        slot.release()
        await asyncio.sleep(1)
        assert rig.states() == {1: "ready", 2: "unloaded"}
        assert slot.reason == "hangs all the time"
        await rig.manager.load("m")
        assert rig.slot().version == 2

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


def test_an_engine_that_cannot_be_made_fails_the_load() -> None:
    async def test(rig: ManagerRig) -> None:
        rig.scripts["engine", 0] = failing(ZeroDivisionError())
        with pytest.raises(LoadFailed, match=BUG):
            await rig.manager.load("m")
        assert rig.states() == {1: "failed"}
        assert rig.loader.loaded[0].closed

    run_manager(test, definition())


def test_every_change_of_state_is_told_in_order() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        assert rig.told() == [(1, "loading"), (1, "warming up"), (1, "ready")]
        await rig.manager.unload("m")
        assert rig.told()[3:] == [(1, "draining"), (1, "unloading"), (1, "unloaded")]

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


def test_a_model_of_which_nothing_is_wanted_any_more_is_withdrawn() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        rig.source.models["m"] = ModelDefinition("m", {}, batching=BatchingOptions())
        await rig.manager.load("m")
        await asyncio.sleep(1)
        assert rig.states() == {1: "unloaded"}

    run_manager(test, definition())
