"""Planted bugs of versions: leases, swaps, operations, loads."""
# ruff: noqa: SLF001 - a bug is planted in private parts

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from shoal_server.batching.backlog import Backlog
from shoal_server.batching.batcher import Batcher
from shoal_server.batching.ticket import Origin, Ticket
from shoal_server.lifecycle import desired as wanted
from shoal_server.lifecycle.catalog import Catalog
from shoal_server.lifecycle.changing import Changing
from shoal_server.lifecycle.keeper import Keeper
from shoal_server.lifecycle.loading import Loading
from shoal_server.lifecycle.manager import Manager
from shoal_server.lifecycle.record import Record
from shoal_server.lifecycle.slot import VersionSlot
from shoal_server.lifecycle.states import VersionState
from shoal_server.lifecycle.turns import Turns
from shoal_testing.fakes import FakeStore
from shoal_testing.planted.planting import nothing, planted


@planted(seen_by=0)
def a_leased_model_is_unloaded(patch: pytest.MonkeyPatch) -> None:
    async def at_once(_self: object) -> None:
        await asyncio.sleep(0)

    patch.setattr(VersionSlot, "drained", at_once)


@planted(seen_by=0)
def two_versions_share_a_line(patch: pytest.MonkeyPatch) -> None:
    original = Batcher.__init__
    lines: dict[object, Backlog[Ticket]] = {}

    def sharing(self: Batcher, origin: Origin, *rest: Any, **more: Any) -> None:  # noqa: ANN401
        original(self, origin, *rest, **more)
        self._backlog = lines.setdefault((origin.model, more["slots"]), self._backlog)

    patch.setattr(Batcher, "__init__", sharing)


@planted(seen_by=9)
def the_catalog_is_not_renewed_when_versions_leave(patch: pytest.MonkeyPatch) -> None:
    original = Keeper.withdraw

    def stale(self: Keeper[Any], slots: Any, reason: str = "") -> None:  # noqa: ANN401
        before = self.catalog
        original(self, slots, reason)
        self.catalog = before

    patch.setattr(Keeper, "withdraw", stale)


@planted(seen_by=0)
def the_old_version_is_withdrawn_before_the_new_one_works(patch: pytest.MonkeyPatch) -> None:
    original = Keeper.load

    async def hasty(self: Keeper[Any], slot: VersionSlot[Any], *rest: Any) -> bool:  # noqa: ANN401
        entry = self.catalog.models[slot.model]
        self.withdraw([old for old in entry.versions.values() if old.state is VersionState.READY])
        return await original(self, slot, *rest)

    patch.setattr(Keeper, "load", hasty)


@planted(seen_by=6)
def a_failed_load_takes_the_old_version_with_it(patch: pytest.MonkeyPatch) -> None:
    original = Manager._converge

    async def vindictive(self: Manager[Any], definition: Any, versions: Any) -> list[str]:  # noqa: ANN401
        failures = await original(self, definition, versions)
        if failures:
            self.keeper.withdraw(self.catalog.models[definition.name].versions.values())
        return failures

    patch.setattr(Manager, "_converge", vindictive)


@planted(seen_by=0)
def what_a_swap_replaced_is_never_withdrawn(patch: pytest.MonkeyPatch) -> None:
    original = Keeper.publish

    def forgetful(self: Keeper[Any], slot: VersionSlot[Any]) -> None:
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(Keeper, "withdraw", nothing)
            original(self, slot)

    patch.setattr(Keeper, "publish", forgetful)


@planted(seen_by=0)
def an_old_version_is_never_unloaded(patch: pytest.MonkeyPatch) -> None:
    async def keep(_self: object, slot: VersionSlot[Any], _loaded: object) -> str:
        if slot.engine is not None:
            slot.engine.close()
        return ""

    patch.setattr(Keeper, "_give_back", keep)


@planted(seen_by=0)
def an_empty_version_means_the_oldest(patch: pytest.MonkeyPatch) -> None:
    original = Catalog.resolve

    def oldest(self: Catalog[Any], model: str, version: str) -> object:
        entry = self.models.get(model)
        return original(self, model, version or (str(min(entry.versions)) if entry else ""))

    patch.setattr(Catalog, "resolve", oldest)


@planted(seen_by=50)
def a_dry_run_changes_what_serves(patch: pytest.MonkeyPatch) -> None:
    original = Changing._change

    def serious(self: Changing[Any], operation: Any, change: Any) -> Any:  # noqa: ANN401
        operation.request = replace(operation.request, dry_run=False)
        if change.slot is not None:
            change.slot.trial = False
        return original(self, operation, change)

    patch.setattr(Changing, "_change", serious)


@planted(seen_by=3)
def what_is_wanted_is_not_recorded(patch: pytest.MonkeyPatch) -> None:
    async def forget(_self: object, _model: str, _desired: object) -> str:
        await asyncio.sleep(0)
        return ""

    patch.setattr(Record, "put", forget)


@planted(seen_by=38)
def a_change_that_cannot_be_recorded_is_recorded_by_the_next(patch: pytest.MonkeyPatch) -> None:
    original = FakeStore.write

    def late(self: FakeStore, desired: Any) -> None:  # noqa: ANN401
        self.desired = desired
        original(self, desired)

    patch.setattr(FakeStore, "write", late)


@planted(seen_by=16)
def a_failed_swap_changes_what_is_wanted(patch: pytest.MonkeyPatch) -> None:
    original = Changing._slot

    async def early(self: Changing[Any], operation: Any, version: int) -> Any:  # noqa: ANN401
        entry = self._keeper.entry(operation.request.model)
        desired = wanted.pinned(entry.desired, entry.ready, entry.answering.version if entry.answering else 0)
        self._keeper.choose(operation.request.model, wanted.loaded(desired, version))
        return await original(self, operation, version)

    patch.setattr(Changing, "_slot", early)


@planted(seen_by=28)
def a_swap_withdraws_before_it_publishes(patch: pytest.MonkeyPatch) -> None:
    original = Changing._recorded

    async def hasty(self: Changing[Any], operation: Any, change: Any) -> str:  # noqa: ANN401
        versions = self._keeper.entry(operation.request.model).versions
        self._keeper.withdraw(versions[number] for number in change.leaving)
        return await original(self, operation, change)

    patch.setattr(Changing, "_recorded", hasty)


@planted(seen_by=28)
def a_swap_leaves_callers_with_the_old_version(patch: pytest.MonkeyPatch) -> None:
    original = wanted.swapped

    def stuck(desired: Any, version: int, replaced: int) -> Any:  # noqa: ANN401
        return replace(original(desired, version, replaced), current=replaced or version)

    patch.setattr(wanted, "swapped", stuck)


@planted(seen_by=31)
def two_operations_on_a_model_run_at_once(patch: pytest.MonkeyPatch) -> None:
    def at_once(self: Turns, model: str, what: str, work: Any) -> None:  # noqa: ANN401
        self._last.pop(model, None)
        _ = self._queue(model, what, work, lambda: True)

    patch.setattr(Turns, "begin", at_once)


@planted(seen_by=101)
def what_was_replaced_is_kept_for_ever(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Keeper, "_cool", nothing)


@planted(seen_by=9)
def a_load_that_hangs_is_never_given_up(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Loading, "_give_up", nothing)


@planted(seen_by=0)
def a_load_that_was_given_up_keeps_its_model(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Keeper, "fail", _fail_without_closing)


async def _fail_without_closing(self: Keeper[Any], slot: VersionSlot[Any], problem: str) -> None:
    slot.loaded = None
    self._move(slot, VersionState.FAILED, problem)
    await asyncio.sleep(0)
