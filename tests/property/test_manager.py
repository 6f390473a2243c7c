"""The lifecycle under any sequence of changes, against a naive account of what should serve."""

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from shoal_server.errors import LoadFailed, NotFound, ShoalError, Unavailable
from shoal_server.events import VersionChanged
from shoal_server.lifecycle.definition import ModelDefinition, VersionPolicy
from shoal_server.lifecycle.slot import VersionSlot
from shoal_server.lifecycle.states import TRANSITIONS, VersionState
from shoal_testing.fakes import definition
from shoal_testing.machines import run_for_long, run_quickly
from shoal_testing.manager_rig import Engine, ManagerRig, failing, run_manager
from shoal_testing.virtual_time import VirtualTimeLoop

VERSIONS = st.sets(st.integers(1, 4), max_size=4)
POLICIES = st.sampled_from(
    [VersionPolicy(), VersionPolicy(latest=0), VersionPolicy(latest=2), VersionPolicy(specific=(1, 3))]
)


class CatalogMachine(RuleBasedStateMachine):
    """One model; each rule lets the manager come to rest."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualTimeLoop()
        self.rig: ManagerRig = self.run(self._rig())
        self.described: ModelDefinition | None = None
        self.broken: set[int] = set()
        self.serving: dict[int, tuple[ModelDefinition, int]] = {}
        """What should serve: by version, from which description and generation of its file."""
        self.generation = 0
        self.leased: list[tuple[VersionSlot[Engine], Engine]] = []

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401 - whatever the work returns
        return self.loop.run_until_complete(work)

    async def _rig(self) -> ManagerRig:
        rig = ManagerRig([])
        await rig.manager.start()
        return rig

    async def _attempt(self, work: Coroutine[Any, Any, None]) -> ShoalError | None:
        try:
            await work
        except (LoadFailed, NotFound) as error:
            return error
        finally:
            await asyncio.sleep(10)
        return None

    @rule(versions=VERSIONS, policy=POLICIES, delay_s=st.sampled_from([0.0, 0.1]))
    def describe(self, versions: set[int], policy: VersionPolicy, delay_s: float) -> None:
        wanted = definition("m", *(versions or {9}), policy=policy)
        wanted = replace(wanted, batching=replace(wanted.batching, delay_s=delay_s))
        self.described = self.rig.source.models["m"] = wanted if versions else replace(wanted, versions={})

    @rule()
    def write_the_files_anew(self) -> None:
        self.generation += 1
        for model in self.rig.loader.loaded:
            model.current = False

    @rule(version=st.integers(1, 4))
    def break_or_mend_a_file(self, version: int) -> None:
        self.broken ^= {version}
        for number in range(1, 5):
            script = failing(LoadFailed("broken")) if number in self.broken else lambda: None
            self.rig.scripts["m", number] = script

    @rule()
    def load(self) -> None:
        error = self.run(self._attempt(self.rig.manager.load("m")))
        wanted = self.described
        if wanted is None:
            assert isinstance(error, NotFound)
            return
        failed = False
        for version in wanted.wanted:
            held = self.serving.get(version)
            if held and held[0].same_serving(wanted, version) and held[1] == self.generation:
                continue
            if version in self.broken:
                failed = True
            else:
                self.serving[version] = (wanted, self.generation)
        assert isinstance(error, LoadFailed) == (failed or bool(wanted.missing))
        if not failed:
            self.serving = {version: held for version, held in self.serving.items() if version in wanted.wanted}

    @rule()
    def unload(self) -> None:
        while self.leased:
            self.leased.pop()[0].release()
        known = "m" in self.rig.manager.catalog.models
        error = self.run(self._attempt(self.rig.manager.unload("m")))
        assert isinstance(error, NotFound) != known
        self.serving = {}

    @precondition(lambda self: self.serving)
    @rule(data=st.data())
    def engine_breaks(self, data: st.DataObject) -> None:
        version = data.draw(st.sampled_from(sorted(self.serving)))
        engine = self.rig.slot(str(version)).engine
        assert engine is not None
        self.run(self._break(engine))
        del self.serving[version]

    async def _break(self, engine: Engine) -> None:
        engine.broken("hangs")
        await asyncio.sleep(10)

    @precondition(lambda self: self.serving)
    @rule(data=st.data())
    def lease(self, data: st.DataObject) -> None:
        version = data.draw(st.sampled_from(["", *map(str, sorted(self.serving))]))
        slot = self.rig.slot(version)
        self.leased.append((slot, slot.lease()))

    @precondition(lambda self: self.leased)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        slot, _engine = self.leased.pop(data.draw(st.integers(0, len(self.leased) - 1)))
        slot.release()
        self.run(asyncio.sleep(10))

    @invariant()
    def what_should_serve_serves_and_nothing_else(self) -> None:
        catalog = self.rig.manager.catalog
        ready = {slot.version: slot for slot in catalog.slots() if slot.state is VersionState.READY}
        assert {version: slot.definition for version, slot in ready.items()} == {
            version: held[0] for version, held in self.serving.items()
        }
        for version, slot in ready.items():
            assert catalog.resolve("m", str(version)) is slot
            assert isinstance(slot.engine, Engine)
            assert not slot.engine.closed
        if ready:
            assert catalog.resolve("m", "") is ready[max(ready)]
        else:
            with pytest.raises((NotFound, Unavailable)):
                catalog.resolve("m", "")

    @invariant()
    def a_leased_model_is_loaded_and_what_nobody_needs_is_not(self) -> None:
        leased = [engine for _slot, engine in self.leased]
        assert not any(engine.closed for engine in leased)
        ready = [slot.engine for slot in self.rig.manager.catalog.slots() if slot.state is VersionState.READY]
        loaded = {id(engine.loaded) for engine in [*leased, *ready] if engine}
        assert {id(model) for model in self.rig.loader.loaded if not model.closed} == loaded

    def teardown(self) -> None:
        for slot, _engine in self.leased:
            slot.release()
        self.run(self.rig.manager.close())
        assert all(model.closed for model in self.rig.loader.loaded)
        self.rig.threads.close()
        self.loop.close()


def legal(events: list[VersionChanged]) -> bool:
    """Whether each move is one of the table, of some load of its version."""
    moves = {state.value: {after.value for after in to} for state, to in TRANSITIONS.items()}
    at: dict[int, list[str]] = {}
    for event in events:
        loads = at.setdefault(event.version, [])
        if event.state in {"loading", "failed"} and "loading" not in loads:
            loads.append(event.state)
            continue
        before = next((state for state in loads if event.state in moves[state]), None)
        if before is None:
            return False
        loads[loads.index(before)] = event.state
    return True


class Hammer:
    """Many tasks that load, unload, lease, break and cancel at once."""

    def __init__(self, rig: ManagerRig, seed: int) -> None:
        self.rig = rig
        self.random = Random(seed)

    async def strike(self, times: int) -> None:
        """Make so many changes, each after a while."""
        changes = [self.describe, self.touch, self.trouble, self.load, self.unload, self.break_engine, self.use]
        for change in self.random.choices(changes, [15, 10, 10, 25, 10, 3, 27], k=times):
            await asyncio.sleep(self.random.choice([0.0, 0.01, 0.05, 0.3]))
            await change()

    async def describe(self) -> None:
        versions = self.random.sample(range(1, 5), self.random.randint(1, 4))
        self.rig.source.models["m"] = definition("m", *versions)

    async def touch(self) -> None:
        for model in self.rig.loader.loaded:
            model.current = self.random.random() < 0.5

    async def trouble(self) -> None:
        trouble = failing(self.random.choice([LoadFailed("broken"), ZeroDivisionError()]))
        slowness = self.rig.pause(self.random.random())
        version = self.random.randint(1, 4)
        self.rig.scripts["m", version] = self.random.choice([trouble, slowness, lambda: None])

    async def load(self) -> None:
        await self.attempt(self.rig.manager.load("m"))

    async def unload(self) -> None:
        await self.attempt(self.rig.manager.unload("m"))

    async def attempt(self, work: Coroutine[Any, Any, None]) -> None:
        task = self.rig.begin(work)
        if self.random.random() < 0.3:
            asyncio.get_running_loop().call_later(self.random.random() / 2, task.cancel)
        try:
            await task
        except (LoadFailed, NotFound, asyncio.CancelledError):
            return

    async def break_engine(self) -> None:
        for engine in self.rig.engines[-1:]:
            engine.broken("hangs")

    async def use(self) -> None:
        version = self.random.choice(["", "1", "2", "3", "4"])
        try:
            slot = self.rig.slot(version)
            engine = slot.lease()
        except (NotFound, Unavailable):
            return
        assert slot.version == int(version or slot.version)
        await asyncio.sleep(self.random.choice([0.0, 0.05, 1.0]))
        assert not engine.closed
        slot.release()


def hammer(seed: int, tasks: int, changes: int) -> None:
    """Let so many tasks make so many changes each, then look at what is left."""

    async def test(rig: ManagerRig) -> None:
        await rig.start_empty()
        hammer = Hammer(rig, seed)
        await asyncio.gather(*(hammer.strike(changes) for _ in range(tasks)))
        while under_way := [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]:
            await asyncio.wait(under_way)
        assert legal(rig.observer.of(VersionChanged))
        ready = [slot for slot in rig.manager.catalog.slots() if slot.state is VersionState.READY]
        assert {id(model) for model in rig.loader.loaded if not model.closed} == {id(slot.loaded) for slot in ready}
        assert all(slot.leases == 0 for slot in rig.manager.catalog.slots())

    run_manager(test, definition("m", 1, 2), seed=seed)


def test_the_catalog_shows_what_a_naive_account_of_all_changes_says() -> None:
    run_quickly(CatalogMachine, examples=40, steps=25)


@pytest.mark.slow
def test_the_catalog_shows_what_a_naive_account_of_all_changes_says_for_long() -> None:
    run_for_long(CatalogMachine, examples=2000, steps=60)


def test_32_tasks_that_load_unload_use_and_break_one_model_see_legal_states_throughout(seed: int) -> None:
    for offset in range(3):
        hammer(seed + offset, tasks=32, changes=20)


@pytest.mark.slow
def test_32_tasks_that_do_so_300_times_each_see_legal_states_throughout(seed: int) -> None:
    hammer(seed, tasks=32, changes=300)
