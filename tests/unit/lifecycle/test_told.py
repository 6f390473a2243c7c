"""What is told of an operation: to who follows changes, to the observer, and in its result."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from shoal_server.errors import LoadFailed
from shoal_server.events import OperationEnded
from shoal_server.lifecycle.definition import VersionPolicy
from shoal_server.lifecycle.ports import ResidentMemory
from shoal_server.lifecycle.progress import Memory
from shoal_server.lifecycle.requests import Load, SetLabel, Swap, Unload
from shoal_testing.fakes import definition
from shoal_testing.manager_rig import KEEP_WARM_S, ManagerRig, run_manager

FIRST = definition("m", 1, 2, 3, policy=VersionPolicy(specific=(1,)))


def test_who_follows_hears_that_an_operation_begins_and_that_it_has_ended() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        following = rig.manager.keeper.changes.follow()
        assert isinstance(following, AsyncGenerator)
        await anext(following)
        operation = rig.manager.operations.begin(SetLabel(model="m", label="blue", version=9))
        ended = []
        for _ in range(2):
            assert list(await anext(following)) == ["m"]
            ended.append(operation.outcome is not None)
        assert ended == [False, True]
        await following.aclose()

    run_manager(test, FIRST)


def test_who_follows_hears_that_the_policy_is_followed_again_though_nothing_moves() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        await rig.manager.operations.begin(Load(model="m", version=2)).result()
        await rig.manager.operations.begin(Unload(model="m", version=2)).result()
        following = rig.manager.keeper.changes.follow()
        assert isinstance(following, AsyncGenerator)
        await anext(following)
        await rig.manager.load("m")
        assert list(await anext(following)) == ["m"]
        assert rig.manager.catalog.models["m"].desired.empty
        await following.aclose()

    run_manager(test, FIRST)


def test_who_follows_hears_that_the_time_of_a_version_that_stands_in_has_ended_and_it_stays() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        await rig.manager.operations.begin(Swap(model="m", version=2)).result()
        rig.engines[1].broken("it hangs")
        await asyncio.sleep(KEEP_WARM_S - 1)
        following = rig.manager.keeper.changes.follow()
        assert isinstance(following, AsyncGenerator)
        await anext(following)
        assert rig.slot().kept_until_s is not None
        assert list(await anext(following)) == ["m"]
        assert (rig.slot().version, rig.slot().kept_until_s) == (1, None)
        await following.aclose()

    run_manager(test, FIRST)


def test_who_follows_hears_that_what_was_held_during_a_load_that_failed_has_its_time_again() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        await rig.manager.operations.begin(Swap(model="m", version=2)).result()
        heard: list[bool] = []

        async def follow() -> None:
            async for changed in rig.manager.keeper.changes.follow():
                heard.extend(rig.slot("1").kept_until_s is not None for _model in changed)

        following = rig.begin(follow())
        rig.scripts["m", 3] = rig.slowly(0, broken=True)
        rig.source.models["m"] = definition("m", 1, 2, 3, policy=VersionPolicy(specific=(1, 3)))
        with pytest.raises(LoadFailed):
            await rig.manager.load("m")
        await asyncio.sleep(1)
        assert not heard[0]
        assert heard[-1]
        following.cancel()

    run_manager(test, FIRST)


def test_the_observer_hears_what_came_of_each_operation_and_why() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        begin = rig.manager.operations.begin
        await begin(Load(model="m", version=2, dry_run=True)).result()
        await begin(Load(model="m", version=2)).result()
        await begin(Load(model="m", version=2)).result()
        rig.scripts["m", 3] = rig.slowly(0, broken=True)
        with pytest.raises(LoadFailed):
            await begin(Swap(model="m", version=3)).result()
        await asyncio.sleep(0)
        told = [(event.outcome, event.problem) for event in rig.observer.of(OperationEnded)]
        assert told == [
            ("tried", ""),
            ("changed", ""),
            ("unchanged", ""),
            ("failed", "version 3 of model 'm': broken"),
        ]

    run_manager(test, FIRST)


@pytest.mark.parametrize(
    ("before", "after", "memory"),
    [
        (ResidentMemory(100, 100), ResidentMemory(150, 200), Memory(100, 200, 150)),
        (ResidentMemory(100, 300), ResidentMemory(50, 90), Memory(100, 100, 50)),  # as the system counts roughly
        (ResidentMemory(), ResidentMemory(), Memory()),
    ],
)
def test_a_result_has_the_memory_before_at_the_peak_and_after(
    before: ResidentMemory, after: ResidentMemory, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        monkeypatch.setattr(rig.resident, "begin", lambda: before)
        rig.resident.now = after
        assert (await rig.manager.operations.begin(Swap(model="m", version=2)).result()).memory == memory

    run_manager(test, FIRST)
