"""Loading and swapping over a fake engine, on virtual time."""

import asyncio
from dataclasses import replace

import pytest

from shoal_server.errors import LoadFailed, NotFound, ShoalError, Unavailable
from shoal_server.events import ModelRemarked, VersionBroken
from shoal_server.lifecycle.definition import ModelDefinition
from shoal_server.lifecycle.keeper import BUG
from shoal_server.options import BatchingOptions
from shoal_testing.fakes import definition
from shoal_testing.manager_rig import LOAD_S, ManagerRig, changed, failing, run_manager
from shoal_testing.virtual_time import virtual_loop


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


def test_every_change_of_state_is_told_in_order() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        assert rig.told() == [(1, "loading"), (1, "warming up"), (1, "ready")]
        await rig.manager.unload("m")
        assert rig.told()[3:] == [(1, "draining"), (1, "unloading"), (1, "unloaded")]

    run_manager(test, definition())


def test_a_model_of_which_nothing_is_wanted_any_more_is_withdrawn() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        rig.source.models["m"] = ModelDefinition("m", {}, batching=BatchingOptions())
        await rig.manager.load("m")
        await asyncio.sleep(1)
        assert rig.states() == {1: "unloaded"}

    run_manager(test, definition())
