"""The process is killed at any moment of any operations: the next one serves what was recorded, which is consistent."""

import asyncio
from contextlib import suppress
from random import Random

import pytest

from shoal_server.errors import NotFound, ShoalError, Unavailable
from shoal_server.lifecycle.definition import ModelDefinition, VersionPolicy
from shoal_server.lifecycle.progress import Operation
from shoal_server.lifecycle.requests import Load, Request, Rollback, SetLabel, Swap, Unload
from shoal_testing.fake_executor import void
from shoal_testing.fakes import FakeStore, definition
from shoal_testing.manager_rig import ManagerRig
from shoal_testing.virtual_time import run_virtual

MODEL: ModelDefinition = definition("m", 1, 2, 3, 4, policy=VersionPolicy(specific=(1, 2)))

Served = tuple[int, frozenset[int]]
"""Which version answers calls without one, and which are to be loaded."""


class SlowStore(FakeStore):
    """Takes its time before and after the moment at which the new state is there."""

    def __init__(self, rig_random: Random) -> None:
        super().__init__()
        self.random = rig_random
        self.rig: ManagerRig | None = None

    def pause(self) -> None:
        assert self.rig is not None
        void(self.rig.threads.pause(self.random.random() * 0.1))

    def write(self, desired: object) -> None:
        self.pause()
        super().write(desired)  # type: ignore[arg-type]
        self.pause()


def drawn(random: Random) -> Request:
    version = random.randint(1, 4)
    return random.choice(
        [
            Swap(model="m", version=version, keep_warm_s=random.choice([0.0, 0.3, 10.0])),
            Swap(model="m", version=version, keep_warm_s=10.0),
            Load(model="m", version=version),
            Unload(model="m", version=version, force=random.random() < 0.3),
            Rollback(model="m"),
            SetLabel(model="m", label="blue", version=version),
        ]
    )


def served(rig: ManagerRig) -> Served:
    """Return what serves now, without what is only kept warm."""
    entry = rig.manager.catalog.models["m"]
    try:
        answering = rig.slot().version
    except (NotFound, Unavailable):
        answering = 0
    ready = [slot for slot in entry.versions.values() if slot.state.value == "ready"]
    return answering, frozenset(slot.version for slot in ready if slot.kept_until_s is None)


async def until_killed(random: Random, store: SlowStore) -> list[Served]:
    """Make changes until the process is killed; return what served before and after the one that was under way."""
    rig = store.rig = ManagerRig([MODEL], store=store)
    await rig.manager.start()
    before = served(rig)
    kill_s = asyncio.get_running_loop().time() + 5 * random.random()
    left: list[asyncio.Task[None]] = []
    try:
        while True:
            operation = rig.manager.operations.begin(drawn(random))
            ending = asyncio.create_task(ended(operation))
            left.append(ending)
            await asyncio.wait([ending], timeout=kill_s - asyncio.get_running_loop().time())
            if not ending.done():
                break
            before = served(rig)
        # Killed: nothing of the process goes on. What the operation under way would have come to shows where it ends.
        state = dict(store.desired)
        await asyncio.wait([ending])
        after = served(rig)
        store.desired = state
        return [before, after]
    finally:
        await rig.manager.close()
        rig.threads.close()


async def ended(operation: Operation) -> None:
    with suppress(ShoalError):
        await operation.result()


async def restarted(store: SlowStore) -> Served:
    rig = store.rig = ManagerRig([MODEL], store=store)
    try:
        await rig.manager.start()
        return served(rig)
    finally:
        await rig.manager.close()
        rig.threads.close()


def kill_and_restart(seed: int) -> bool:
    """Return whether the operation under way had been recorded."""
    store = SlowStore(Random(seed))
    before, after = run_virtual(until_killed(store.random, store), seed)
    now = run_virtual(restarted(store), seed)
    assert now in (before, after), f"{before} served and would have become {after}; {now} serves after the kill"
    return now != before


@pytest.mark.parametrize("group", range(4))
def test_who_is_killed_at_any_moment_serves_the_old_or_the_new_state(group: int, seed: int) -> None:
    for offset in range(50):
        kill_and_restart(seed + group * 50 + offset)


def test_kills_hit_both_before_and_after_the_moment_at_which_a_change_holds() -> None:
    assert {kill_and_restart(seed) for seed in range(40)} == {False, True}


def test_a_store_that_forgets_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SlowStore, "write", lambda self, _desired: self.pause())
    with pytest.raises(AssertionError, match="serves after the kill"):
        any(kill_and_restart(seed) for seed in range(40))
