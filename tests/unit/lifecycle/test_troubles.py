"""What can go wrong within an operation: bugs of ours, a server that stops, bounds, and what is not there."""

import asyncio
from dataclasses import dataclass, replace

import pytest

from shoal_server.errors import InternalError, LoadFailed, NotFound, PreconditionFailed, Unavailable
from shoal_server.events import ModelRemarked, OperationEnded
from shoal_server.lifecycle.definition import VersionPolicy
from shoal_server.lifecycle.desired import Desired
from shoal_server.lifecycle.progress import Result
from shoal_server.lifecycle.requests import Load, Request, Rollback, SetLabel, Swap, Unload
from shoal_testing.fake_model import Kind
from shoal_testing.fakes import FakeStore, definition
from shoal_testing.manager_rig import ManagerRig, failing, run_manager
from shoal_testing.virtual_threads import FOR_EVER

FIRST = definition("m", 1, 2, 3, policy=VersionPolicy(specific=(1,)))


async def done(rig: ManagerRig, request: Request) -> Result:
    return await rig.manager.operations.begin(request).result()


@dataclass(frozen=True, slots=True, kw_only=True)
class Unheard(Request):
    """Nobody knows how to do it."""

    @property
    def kind(self) -> str:
        return "unheard"


def test_a_bug_of_ours_answers_those_who_follow_and_the_next_operation_is_done() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        with pytest.raises(InternalError):
            await done(rig, Unheard(model="m"))
        await asyncio.sleep(0)
        assert [event.outcome for event in rig.observer.of(OperationEnded)] == ["failed"]
        assert (await done(rig, Swap(model="m", version=2))).changed

    run_manager(test, FIRST)


def test_who_follows_what_is_cut_off_at_the_very_end_hears_that_the_server_stops() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        rig.scripts["m", 2] = rig.pause(FOR_EVER)
        swap = rig.manager.operations.begin(Swap(model="m", version=2))
        await asyncio.sleep(1)
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in left:
            task.cancel()
        with pytest.raises(Unavailable, match="the server is shutting down"):
            await swap.result()
        await asyncio.wait(left)

    run_manager(test, FIRST)


def test_what_is_over_at_once_waits_for_no_load() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        await done(rig, Swap(model="m", version=2))
        rig.late_s = 100.0
        async with asyncio.timeout(1):
            assert (await done(rig, SetLabel(model="n", label="blue", version=1))).recorded
        rollback = rig.manager.operations.begin(Rollback(model="m"))
        await asyncio.sleep(1)
        assert rig.slot().version == 1
        await rollback.result()

    run_manager(test, FIRST, definition("n"))


def test_a_load_for_which_there_is_no_memory_fails_in_a_sentence() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        rig.scripts["m", 2] = failing(MemoryError())
        with pytest.raises(LoadFailed, match="version 2 of model 'm': there is not enough memory for it"):
            await done(rig, Swap(model="m", version=2))
        assert rig.states() == {1: "ready", 2: "failed"}

    run_manager(test, FIRST)


@pytest.mark.parametrize("request_", [Unload(model="x", version=1), Rollback(model="x"), Swap(model="x", version=1)])
def test_a_model_that_nobody_knows_is_not_found(request_: Request) -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        with pytest.raises(NotFound, match="'x'"):
            await done(rig, request_)
        assert "x" not in rig.manager.catalog.models

    run_manager(test, FIRST)


def test_a_model_has_64_labels_at_most() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        for number in range(64):
            assert (await done(rig, SetLabel(model="m", label=f"l{number}", version=1))).changed
        with pytest.raises(PreconditionFailed, match="has 64 labels already: take one away first"):
            await done(rig, SetLabel(model="m", label="one-more", version=1))
        changed = await done(rig, SetLabel(model="m", label="l7", version=0))
        assert (changed.changed, changed.label_before) == (True, 1)
        assert (await done(rig, SetLabel(model="m", label="one-more", version=1))).changed

    run_manager(test, FIRST)


def test_a_server_that_stops_while_a_change_is_recorded_takes_it_back() -> None:
    store = FakeStore()

    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        store.before_write = rig.pause(5)
        swap = rig.manager.operations.begin(Swap(model="m", version=2))
        await asyncio.sleep(1)
        await rig.manager.close()
        with pytest.raises(Unavailable, match="the server is shutting down: nothing has changed, and the same request"):
            await swap.result()
        await asyncio.sleep(10)
        assert str(swap.outcome) == "the server is shutting down"
        assert store.desired == {}
        assert all(model.closed for model in rig.loader.loaded)

    run_manager(test, FIRST, store=store)


def test_who_follows_a_swap_that_is_made_when_the_server_stops_is_told_that_it_is() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        first = rig.slot()
        first.lease()
        swap = rig.manager.operations.begin(Swap(model="m", version=2, keep_warm_s=0.0))
        await asyncio.sleep(1)
        rig.manager.end_changes()
        with pytest.raises(
            Unavailable, match="shutting down: the swap to version 2 is made, and its end is not waited"
        ):
            await swap.result()
        first.release()
        await asyncio.sleep(1)
        assert isinstance(swap.outcome, Result)
        assert (await swap.result()).changed

    run_manager(test, FIRST)


def test_a_version_that_breaks_while_its_swap_is_recorded_is_not_recorded_in_the_end() -> None:
    store = FakeStore()

    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        await done(rig, Load(model="m", version=2))
        before = store.desired
        store.before_write = rig.pause(5)
        swap = rig.manager.operations.begin(Swap(model="m", version=2))
        await asyncio.sleep(1)
        rig.engines[-1].broken("it hangs")
        with pytest.raises(Unavailable, match="version 2 of model 'm' is unloaded: it hangs"):
            await swap.result()
        assert store.desired == before
        assert rig.slot().version == 1

    run_manager(test, FIRST, store=store)


def test_what_cannot_be_recorded_is_told_to_the_operator_and_done_all_the_same() -> None:
    store = FakeStore()

    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        store.trouble = "the disk is full"
        result = await done(rig, Swap(model="m", version=2))
        assert (result.changed, result.recorded, result.remarks) == (True, False, ("the disk is full",))
        await rig.manager.unload("m")
        await asyncio.sleep(0)
        assert rig.observer.of(ModelRemarked) == [
            ModelRemarked("m", "a restarted server would not serve the same: the disk is full"),
            ModelRemarked("m", "a restarted server would load it again: the disk is full"),
        ]
        store.trouble = ""
        await rig.manager.load("m")
        assert store.desired == {}
        await done(rig, Swap(model="m", version=3))
        store.trouble = "the disk is full"
        await rig.manager.load("m")
        await asyncio.sleep(0)
        assert rig.observer.of(ModelRemarked)[2:] == [
            ModelRemarked("m", "a restarted server would not serve the same: the disk is full")
        ]

    run_manager(test, FIRST, store=store)


def test_what_is_stopped_of_a_lost_model_is_not_listed_and_what_is_wanted_is() -> None:
    store = FakeStore({"stopped": Desired((), 0), "wanted": Desired((1,), 1)})

    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        assert sorted(rig.manager.catalog.models) == ["m", "wanted"]
        with pytest.raises(Unavailable, match="operators want versions of model 'wanted'"):
            rig.slot(model="wanted")

    run_manager(test, FIRST, store=store)


def test_a_version_that_is_there_and_cannot_be_served_fails_with_the_reason_of_the_source() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        rig.source.models["m"] = replace(FIRST, refused={4: "it is still being written"})
        with pytest.raises(LoadFailed, match="version 4 of model 'm': it is still being written"):
            await done(rig, Swap(model="m", version=4))
        assert rig.states() == {1: "ready"}

    run_manager(test, FIRST)


def test_the_operator_is_told_where_the_policy_brings_a_version_that_callers_cannot_call() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        rig.kinds["m", 2] = Kind.TEXT
        rig.source.models["m"] = definition("m", 1, 2)
        await rig.manager.load("m")
        await asyncio.sleep(0)
        [remark] = rig.observer.of(ModelRemarked)
        assert remark.warning.startswith(
            "callers of version 1 cannot call version 2: input 'x' is BYTES, and was INT64"
        )

    run_manager(test, FIRST)
