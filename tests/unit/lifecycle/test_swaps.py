"""What a swap tells, whom it waits for, and what happens while it loads."""

import asyncio

from shoal_server.events import CurrentChosen
from shoal_server.lifecycle.definition import VersionPolicy
from shoal_server.lifecycle.requests import Swap
from shoal_testing.fakes import definition
from shoal_testing.manager_rig import LOAD_S, ManagerRig, run_manager

FIRST = definition("m", 1, 2, 3, policy=VersionPolicy(specific=(1,)))


def test_the_version_that_answers_is_told_once_it_does() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        await rig.manager.operations.begin(Swap(model="m", version=2)).result()
        await asyncio.sleep(0)
        assert [event.version for event in rig.observer.of(CurrentChosen)] == [2]

    run_manager(test, FIRST)


def test_the_version_that_answers_by_the_policy_again_is_told_and_not_the_one_that_leaves() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        await rig.manager.operations.begin(Swap(model="m", version=2)).result()
        await rig.manager.load("m")
        await asyncio.sleep(0)
        assert rig.slot().version == 1
        assert [event.version for event in rig.observer.of(CurrentChosen)] == [2, 1]

    run_manager(test, FIRST)


def test_a_swap_that_keeps_nothing_warm_waits_for_those_who_are_inside() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        old = rig.slot()
        old.lease()
        swap = rig.manager.operations.begin(Swap(model="m", version=2, keep_warm_s=0.0))
        await asyncio.sleep(10)
        assert (rig.slot().version, swap.outcome) == (2, None)
        old.release()
        assert (await swap.result()).changed
        assert old.state.value == "unloaded"

    run_manager(test, FIRST)


def test_a_swap_that_keeps_the_old_version_warm_waits_for_nobody() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        first = rig.slot()
        first.lease()
        for version in (2, 3):
            await rig.manager.operations.begin(Swap(model="m", version=version)).result()
        assert rig.states() == {1: "draining", 2: "ready", 3: "ready"}
        first.release()

    run_manager(test, FIRST)


def test_what_answered_when_the_swap_began_and_broke_meanwhile_is_no_previous_version() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        swap = rig.manager.operations.begin(Swap(model="m", version=2))
        await asyncio.sleep(LOAD_S / 2)
        rig.engines[0].broken("it hangs")
        result = await swap.result()
        assert (result.before, result.after) == (0, 2)
        assert rig.manager.catalog.models["m"].desired.previous is None

    run_manager(test, FIRST)


def test_a_swap_to_what_answers_tells_that_its_files_have_changed() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        result = await rig.manager.operations.begin(Swap(model="m", version=1)).result()
        assert (result.changed, result.remarks) == (False, ())
        rig.loader.loaded[0].current = False
        [remark] = (await rig.manager.operations.begin(Swap(model="m", version=1)).result()).remarks
        assert remark.startswith("its files have changed since it was loaded")

    run_manager(test, FIRST)
