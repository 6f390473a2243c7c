"""Operations on virtual time: what hangs, what breaks, what is kept."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from shoal_server.errors import (
    Conflict,
    InvalidRequest,
    LoadFailed,
    NotFound,
    PreconditionFailed,
    ShoalError,
    Unavailable,
)
from shoal_server.events import MemoryKept, OperationEnded
from shoal_server.lifecycle.definition import VersionPolicy
from shoal_server.lifecycle.desired import Desired
from shoal_server.lifecycle.keys import MOST_KEYS
from shoal_server.lifecycle.ports import FileDigest, ResidentMemory
from shoal_server.lifecycle.progress import Result, StepKind
from shoal_server.lifecycle.requests import Load, Request, Rollback, SetLabel, Swap, Unload
from shoal_server.lifecycle.states import VersionState
from shoal_testing.fake_executor import FakeWorkers
from shoal_testing.fakes import FakeStore, definition
from shoal_testing.manager_rig import KEEP_WARM_S, LIMIT_S, LOAD_S, ManagerRig, run_manager
from shoal_testing.virtual_threads import FOR_EVER

FIRST = definition("m", 1, 2, 3, policy=VersionPolicy(specific=(1,)))


async def done(rig: ManagerRig, request: Request) -> Result:
    return await rig.manager.operations.begin(request).result()


def test_a_swap_keeps_the_old_version_for_its_time_and_no_longer() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        result = await done(rig, Swap(model="m", version=2))
        assert result.kept_until_s == pytest.approx(asyncio.get_running_loop().time() + KEEP_WARM_S)
        await asyncio.sleep(KEEP_WARM_S - 0.1)
        assert rig.states() == {1: "ready", 2: "ready"}
        await asyncio.sleep(0.2)
        assert rig.states() == {1: "unloaded", 2: "ready"}
        [event] = rig.observer.of(OperationEnded)
        assert (event.operation, event.version, event.outcome, event.problem) == ("swap", 2, "changed", "")
        assert [step.kind for step in event.steps] == ["describe", "load", "warm up", "record", "publish"]

    run_manager(test, FIRST)


def test_a_version_that_is_kept_warm_and_given_a_label_stays_and_comes_again_after_a_restart() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        await done(rig, Swap(model="m", version=2))
        assert (await done(rig, SetLabel(model="m", label="blue", version=1, dry_run=True))).changed is False
        assert rig.slot("1").kept_until_s is not None
        await done(rig, SetLabel(model="m", label="blue", version=1))
        await asyncio.sleep(2 * KEEP_WARM_S)
        assert rig.states() == {1: "ready", 2: "ready"}
        assert rig.store.desired["m"].versions == (1, 2)

    run_manager(test, FIRST)


def test_labels_that_leave_with_their_version_are_told_of() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        await done(rig, Load(model="m", version=3))
        await done(rig, SetLabel(model="m", label="blue", version=3))
        await done(rig, SetLabel(model="m", label="canary", version=3))
        assert (await done(rig, Unload(model="m", version=3))).remarks == ("gone with it: the labels blue, canary",)
        assert rig.store.desired["m"].labels == {}
        await done(rig, Load(model="m", version=3))
        assert (await done(rig, Unload(model="m", version=3))).remarks == ()

    run_manager(test, FIRST)


def test_a_label_is_for_versions_that_serve_and_others_are_told_apart_from_those_that_are_not_there() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        with pytest.raises(PreconditionFailed, match="version 2 of model 'm' is not loaded: load it first"):
            await done(rig, SetLabel(model="m", label="blue", version=2))
        with pytest.raises(NotFound, match=r"model 'm' has no version 4; it has \[1, 2, 3\]"):
            await done(rig, SetLabel(model="m", label="blue", version=4))

    run_manager(test, FIRST)


def test_a_label_set_again_on_a_version_that_is_about_to_leave_makes_it_stay() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        await done(rig, SetLabel(model="m", label="blue", version=1))
        await done(rig, Swap(model="m", version=2))
        assert (await done(rig, SetLabel(model="m", label="blue", version=1))).changed
        assert not (await done(rig, SetLabel(model="m", label="blue", version=1))).changed
        await asyncio.sleep(2 * KEEP_WARM_S)
        assert rig.states() == {1: "ready", 2: "ready"}

    run_manager(test, FIRST)


def test_steps_are_as_long_as_on_the_thread_though_the_loop_hears_of_them_late(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        loop = asyncio.get_running_loop()

        def late(_workers: FakeWorkers, deliver: Callable[[object], None], message: tuple[object, ...]) -> None:
            if VersionState.LOADING in message:
                loop.call_later(0.9 * LOAD_S, deliver, message)
            else:
                loop.call_soon(deliver, message)

        monkeypatch.setattr(FakeWorkers, "post", late)
        result = await done(rig, Swap(model="m", version=2))
        [load] = [step for step in result.steps if step.kind is StepKind.LOAD]
        assert load.seconds == pytest.approx(LOAD_S)

    run_manager(test, FIRST)


def test_what_was_replaced_answers_again_where_the_new_version_breaks_and_stays_for_it() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        await done(rig, Swap(model="m", version=2))
        rig.engines[-1].broken("it hangs")
        assert rig.slot().version == 1
        await asyncio.sleep(2 * KEEP_WARM_S)
        assert rig.slot().version == 1
        await done(rig, Swap(model="m", version=3))
        assert rig.slot().version == 3

    run_manager(test, FIRST)


def test_a_load_that_hangs_is_given_up_and_one_that_waits_for_a_thread_is_not() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        rig.scripts["m", 2] = rig.pause(FOR_EVER)
        with pytest.raises(LoadFailed, match=f"still loading after {LIMIT_S:g} s"):
            await done(rig, Swap(model="m", version=2))
        assert rig.states() == {1: "ready", 2: "failed"}
        rig.scripts["m", 2] = rig.pause(LIMIT_S + 1)
        with pytest.raises(LoadFailed, match="was given up"):
            await done(rig, Swap(model="m", version=2))
        await asyncio.sleep(10)
        assert rig.loader.loaded[-1].closed, "what it loaded in the end"

    run_manager(test, FIRST)


def test_while_an_operation_runs_another_is_a_conflict_and_afterwards_it_is_not() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        first = rig.manager.operations.begin(Swap(model="m", version=2))
        with pytest.raises(Conflict, match=r"swap to version 2 of model 'm' has been under way for 0\.0 s"):
            rig.manager.operations.begin(Rollback(model="m"))
        await asyncio.sleep(LOAD_S / 2)
        with pytest.raises(Conflict):
            rig.manager.operations.begin(Swap(model="m", version=3))
        await first.result()
        assert (await done(rig, Rollback(model="m"))).after == 1

    run_manager(test, FIRST)


def test_the_last_keys_are_remembered() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        begin = rig.manager.operations.begin
        first = begin(Swap(model="m", version=1, key="0"))
        await first.result()
        assert begin(Swap(model="m", version=1, key="0")) is first
        with pytest.raises(InvalidRequest):
            begin(Swap(model="m", version=2, key="0"))
        for number in range(1, MOST_KEYS + 1):
            await begin(Swap(model="m", version=1, key=str(number))).result()
        assert begin(Swap(model="m", version=1, key="0")) is not first

    run_manager(test, FIRST)


def test_where_recording_fails_in_the_end_nothing_has_changed() -> None:
    store = FakeStore(required=True)

    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        store.trouble, store.trouble_comes_late = "the disk is full", True
        for request in (Swap(model="m", version=2), Unload(model="m", version=1, force=True)):
            with pytest.raises(PreconditionFailed, match="the disk is full"):
                await done(rig, request)
        assert rig.slot().version == 1
        assert rig.states() == {1: "ready", 2: "failed"}
        assert rig.manager.catalog.models["m"].desired.empty
        store.trouble = ""
        assert (await done(rig, SetLabel(model="m", label="blue", version=1))).recorded

    run_manager(test, FIRST, store=store)


def test_a_server_that_stops_fails_what_is_under_way_and_begins_nothing() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        swap = rig.manager.operations.begin(Swap(model="m", version=2))
        await asyncio.sleep(LOAD_S / 2)
        await rig.manager.close()
        with pytest.raises(ShoalError, match="shutting down"):
            await swap.result()
        with pytest.raises(Unavailable, match="shutting down"):
            rig.manager.operations.begin(Rollback(model="m"))
        await asyncio.sleep(1)
        assert rig.store.desired == {}
        assert rig.states() == {1: "unloaded", 2: "failed"}

    run_manager(test, FIRST)


@pytest.mark.parametrize(("size_mib", "returned_mib", "told"), [(100, 10, 1), (100, 90, 0), (64, 31, 1), (63, 0, 0)])
def test_memory_of_a_large_version_that_does_not_come_back_is_told(size_mib: int, returned_mib: int, told: int) -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        [model] = rig.loader.loaded
        model.files = (FileDigest("model.onnx", "00", size_mib << 20),)
        rig.resident.now = ResidentMemory(500 << 20, 500 << 20)
        close = model.close

        def closing() -> None:
            close()
            rig.resident.now = ResidentMemory((500 - returned_mib) << 20, 0)

        model.close = closing  # type: ignore[method-assign]
        await rig.manager.unload("m")
        await asyncio.sleep(0)
        assert len(rig.observer.of(MemoryKept)) == told

    run_manager(test, FIRST)


def test_a_version_of_a_model_that_the_source_has_lost_can_still_be_taken_off_the_record() -> None:
    store = FakeStore({"gone": Desired((1, 2), 2)})

    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        result = await done(rig, Unload(model="gone", version=1))
        assert (result.changed, result.recorded) == (True, True)
        assert (await done(rig, Unload(model="gone", version=2, force=True))).changed
        assert store.desired == {"gone": Desired((), 0)}

    run_manager(test, FIRST, store=store)


def test_what_is_kept_warm_and_wanted_again_by_the_policy_stays_though_its_time_ends_meanwhile() -> None:
    store = FakeStore()

    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        first = rig.slot()
        await done(rig, Swap(model="m", version=2))
        await asyncio.sleep(KEEP_WARM_S - 1)
        store.before_write = rig.pause(5)
        await rig.manager.load("m")
        await asyncio.sleep(1)
        assert rig.slot() is first
        assert rig.states() == {1: "ready", 2: "unloaded"}

    run_manager(test, FIRST, store=store)


def test_what_is_kept_warm_leaves_at_its_time_where_the_policy_cannot_be_followed_again() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        await done(rig, Swap(model="m", version=2))
        rig.scripts["m", 3] = rig.slowly(KEEP_WARM_S, broken=True)
        rig.source.models["m"] = replace(FIRST, policy=VersionPolicy(specific=(1, 3)))
        with pytest.raises(LoadFailed, match="broken"):
            await rig.manager.load("m")
        await asyncio.sleep(1)
        assert rig.states() == {1: "unloaded", 2: "ready", 3: "failed"}

    run_manager(test, FIRST)


def test_a_rollback_that_cannot_be_recorded_leaves_what_is_kept_warm_its_time() -> None:
    store = FakeStore(required=True)

    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        until_s = (await done(rig, Swap(model="m", version=2))).kept_until_s
        await asyncio.sleep(KEEP_WARM_S / 2)
        store.trouble, store.trouble_comes_late = "the disk is full", True
        with pytest.raises(PreconditionFailed, match="the disk is full"):
            await done(rig, Rollback(model="m"))
        assert rig.slot("1").kept_until_s == pytest.approx(until_s)
        await asyncio.sleep(KEEP_WARM_S)
        assert rig.states() == {1: "unloaded", 2: "ready"}

    run_manager(test, FIRST, store=store)


def test_a_version_that_was_unloaded_stands_in_no_more_and_one_beside_it_changes_nothing() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        await done(rig, Swap(model="m", version=2))
        swapped_to = rig.engines[-1]
        await done(rig, Load(model="m", version=3))
        await done(rig, Unload(model="m", version=3))
        assert rig.manager.catalog.models["m"].stand_in == 1
        await done(rig, Unload(model="m", version=1))
        await done(rig, Load(model="m", version=1))
        swapped_to.broken("it hangs")
        with pytest.raises(Unavailable, match="answers no calls without a version"):
            rig.slot()

    run_manager(test, FIRST)


def test_a_swap_to_the_version_that_stands_in_makes_it_the_wanted_one() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        await done(rig, Swap(model="m", version=2))
        rig.engines[-1].broken("it hangs")
        result = await done(rig, Swap(model="m", version=1))
        assert (result.before, result.after, result.changed) == (1, 1, True)
        assert rig.store.desired == {"m": Desired((1,), 1)}
        await asyncio.sleep(2 * KEEP_WARM_S)
        assert rig.states() == {1: "ready", 2: "unloaded"}

    run_manager(test, FIRST)
