"""Operators' changes in any order, with failing loads and restarts, against a naive account of what is wanted."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from shoal_server.errors import LoadFailed, ShoalError
from shoal_server.lifecycle.definition import VersionPolicy
from shoal_server.lifecycle.desired import Desired
from shoal_server.lifecycle.requests import Load, Request, Rollback, SetLabel, Swap, Unload
from shoal_server.lifecycle.states import VersionState
from shoal_testing.fakes import FakeStore, definition
from shoal_testing.machines import run_for_long, run_quickly
from shoal_testing.manager_rig import ManagerRig, failing
from shoal_testing.virtual_time import VirtualTimeLoop
from shoal_testing.wanted_account import Account

PRESENT = (1, 2, 3, 4)
VERSIONS = st.sampled_from([1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4, 5])
FOR_LONG_S = 1000.0
NOW_AND_THEN = st.sampled_from([False, False, False, True])


class OperationsMachine(RuleBasedStateMachine):
    """One model; each rule lets the manager come to rest."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualTimeLoop()
        self.store = FakeStore(required=True)
        self.account = Account(PRESENT, ())
        self.rig: ManagerRig
        self.policy = VersionPolicy()

    @initialize(policy=st.sampled_from([(4,), (1, 2)]))
    def begin(self, policy: tuple[int, ...]) -> None:
        self.account.policy = policy
        self.policy = VersionPolicy(specific=policy)
        self._start()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401 - whatever the work returns
        async def and_rest() -> Any:  # noqa: ANN401 - as above
            try:
                return await work
            finally:
                await asyncio.sleep(10)

        return self.loop.run_until_complete(and_rest())

    def _start(self) -> None:
        async def start() -> None:
            self.rig = ManagerRig([definition("m", *PRESENT, policy=self.policy)], store=self.store)
            self._script()
            await self.rig.manager.start()

        self.run(start())
        self.account.start()

    def _stop(self) -> None:
        self.run(self.rig.manager.close())
        assert all(model.closed for model in self.rig.loader.loaded)
        self.rig.threads.close()

    def _script(self) -> None:
        for version in PRESENT:
            broken = version in self.account.broken
            self.rig.scripts["m", version] = failing(LoadFailed("broken")) if broken else lambda: None

    def _operate(self, request: Request) -> str:
        """Return the name of the error, or nothing."""

        async def operate() -> str:
            try:
                await self.rig.manager.operations.begin(request).result()
            except ShoalError as error:
                return type(error).__name__
            return ""

        return str(self.run(operate()))

    @rule(version=VERSIONS, keep_warm=st.booleans(), dry_run=NOW_AND_THEN)
    def swap(self, version: int, *, keep_warm: bool, dry_run: bool) -> None:
        request = Swap(model="m", version=version, keep_warm_s=FOR_LONG_S if keep_warm else 0.0, dry_run=dry_run)
        assert self._operate(request) == self.account.swap(version, keep_warm=keep_warm, dry_run=dry_run)

    @rule(version=VERSIONS, dry_run=NOW_AND_THEN)
    def load(self, version: int, *, dry_run: bool) -> None:
        request = Load(model="m", version=version, dry_run=dry_run)
        assert self._operate(request) == self.account.load(version, dry_run=dry_run)

    @rule(version=VERSIONS, force=st.booleans(), dry_run=NOW_AND_THEN)
    def unload(self, version: int, *, force: bool, dry_run: bool) -> None:
        request = Unload(model="m", version=version, force=force, dry_run=dry_run)
        assert self._operate(request) == self.account.unload(version, force=force, dry_run=dry_run)

    @rule(dry_run=NOW_AND_THEN)
    def roll_back(self, *, dry_run: bool) -> None:
        assert self._operate(Rollback(model="m", dry_run=dry_run)) == self.account.roll_back(dry_run=dry_run)

    @rule(label=st.sampled_from(["blue", "green"]), data=st.data())
    def set_label(self, label: str, data: st.DataObject) -> None:
        version = data.draw(st.sampled_from([*sorted(self.account.serving), *range(6)]))
        request = SetLabel(model="m", label=label, version=version)
        assert self._operate(request) == self.account.set_label(label, version)

    @rule()
    def follow_the_policy(self) -> None:
        async def load() -> str:
            try:
                await self.rig.manager.load("m")
            except LoadFailed:
                return "LoadFailed"
            return ""

        assert self.run(load()) == self.account.follow_policy()

    @rule()
    def unload_all(self) -> None:
        self.run(self.rig.manager.unload("m"))
        self.account.unload_all()

    @rule(version=st.integers(1, 4))
    def break_or_mend_a_file(self, version: int) -> None:
        self.account.broken ^= {version}
        self._script()

    @precondition(lambda self: self.account.serving)
    @rule(data=st.data())
    def engine_breaks(self, data: st.DataObject) -> None:
        version = data.draw(st.sampled_from(sorted(self.account.serving)))

        async def broken() -> None:
            engine = self.rig.slot(str(version)).engine
            assert engine is not None
            engine.broken("hangs")

        self.run(broken())
        self.account.engine_breaks(version)

    @precondition(lambda self: self.account.warm)
    @rule()
    def time_passes(self) -> None:
        self.run(asyncio.sleep(FOR_LONG_S))
        self.account.time_passes()

    @rule()
    def restart(self) -> None:
        self._stop()
        self._start()

    @invariant()
    def all_is_as_the_account_says(self) -> None:
        account, entry = self.account, self.rig.manager.keeper.entry("m")
        wanted = None if account.wanted is None else tuple(sorted(account.wanted))
        assert entry.desired == Desired(wanted, account.current, account.previous, account.labels)
        assert self.store.desired.get("m", Desired()) == entry.desired, "what is recorded"
        ready = [slot for slot in self.rig.manager.catalog.slots() if slot.state is VersionState.READY]
        assert {slot.version for slot in ready} == account.serving
        assert {slot.version for slot in ready if slot.kept_until_s is not None} == account.warm
        assert (entry.answering.version if entry.answering is not None else 0) == account.answering
        assert {id(model) for model in self.rig.loader.loaded if not model.closed} == {
            id(slot.loaded) for slot in ready
        }

    def teardown(self) -> None:
        if hasattr(self, "rig"):
            self._stop()
        self.loop.close()


def test_what_is_wanted_and_served_is_what_a_naive_account_of_all_operations_says() -> None:
    run_quickly(OperationsMachine, examples=25, steps=40)


@pytest.mark.slow
def test_what_is_wanted_and_served_is_what_a_naive_account_of_all_operations_says_for_long() -> None:
    run_for_long(OperationsMachine, examples=2000, steps=60)
