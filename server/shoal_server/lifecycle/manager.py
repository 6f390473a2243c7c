"""Brings the versions that are wanted into service and takes the others out."""

import asyncio
from collections.abc import Collection, Coroutine, Mapping, Sequence
from functools import partial
from typing import Generic

from shoal_server.errors import LoadFailed, NotFound, Unavailable
from shoal_server.lifecycle import desired as wanted
from shoal_server.lifecycle.catalog import Catalog, ModelEntry
from shoal_server.lifecycle.compatibility import breaks
from shoal_server.lifecycle.definition import ModelDefinition
from shoal_server.lifecycle.desired import Desired
from shoal_server.lifecycle.keeper import STOPPING, Keeper
from shoal_server.lifecycle.operations import KEEP_WARM_S, Operations
from shoal_server.lifecycle.ports import Source, StateStore, Workers
from shoal_server.lifecycle.record import Record
from shoal_server.lifecycle.slot import G, VersionSlot
from shoal_server.lifecycle.states import VersionState
from shoal_server.lifecycle.surroundings import Surroundings
from shoal_server.lifecycle.turns import Turns
from shoal_server.tensors.spec import Signature


class Manager(Generic[G]):
    """All models of a server: what the source and the operators want is served. Loop only.

    What fails to load never touches what serves. Work on one model happens in order; models do not wait for each other.
    Work that has begun goes on to its end even if its caller is cancelled. ``operations`` are the operators' own
    changes, which are recorded; a model that operators have not changed follows the source's policy.

    ``clerk`` are threads for what is over at once, where nothing has to wait for a load.
    """

    def __init__(
        self,
        source: Source,
        store: StateStore,
        around: Surroundings[G],
        clerk: Workers,
        keep_warm_s: float = KEEP_WARM_S,
    ) -> None:
        self.turns = Turns(around.clock)
        self.keeper: Keeper[G] = Keeper(around)
        self._source = source
        self._workers = around.workers
        self._record = Record(store, clerk)
        self.operations: Operations[G] = Operations(
            self.keeper,
            self.turns,
            self._record,
            source,
            workers=around.workers,
            clerk=clerk,
            resident=around.resident,
            clock=around.clock,
            keep_warm_s=keep_warm_s,
        )

    @property
    def catalog(self) -> Catalog[G]:
        """What there is now."""
        return self.keeper.catalog

    async def start(self) -> None:
        """Load all that the source has, or that operators want of it; what cannot be served is listed with its reason.

        Raises:
            LoadFailed: the source itself, or what operators wanted, cannot be read.
        """
        recorded = await self._record.read()
        found = await self._workers.call(self._source.scan)
        problems = {name: str(problem) for name, problem in found.items() if isinstance(problem, LoadFailed)}
        problems |= {
            name: f"operators want versions of model '{name}', and the source has no such model"
            for name, desired in recorded.items()
            if name not in found and desired.versions
        }
        for name in sorted({*problems, *recorded}):
            entry: ModelEntry[G] = ModelEntry(problem=problems.get(name, ""), desired=recorded.get(name, Desired()))
            if name in found or name in problems:
                self.keeper.set_entry(name, entry)
            if name in problems:
                self.keeper.remark(name, problems[name])
        self.keeper.known = True
        async with asyncio.TaskGroup() as group:
            for definition in found.values():
                if isinstance(definition, ModelDefinition):
                    work: Coroutine[object, object, object] = self.turns.take(
                        definition.name, "the first load", partial(self._bring, definition)
                    )
                    group.create_task(work)

    async def load(self, model: str) -> None:
        """Read a model's description again and bring the versions into service that its policy wants.

        A version that serves already from the same files with the same options stays as it is. Versions no longer
        wanted are withdrawn once every wanted one is ready. What operators wanted of the model is then forgotten, but
        for labels of versions that serve.

        Raises:
            NotFound: the source has no such model.
            LoadFailed: the description or a wanted version is unusable; what served before serves on.
            PreconditionFailed: what operators wanted cannot be forgotten, since it cannot be recorded.
            Unavailable: the server is starting or shutting down.
        """
        self.keeper.require_open()

        async def describe_and_follow() -> list[str]:
            if not self.keeper.entry(model).desired.empty:
                await self._record.prepare()
            before = self._signature(model)
            definition = await self._workers.call(lambda: self._source.describe(model))
            # What serves and was overwritten by something unusable serves on.
            keep = {*definition.wanted, *definition.refused}
            entry = self.keeper.entry(model)
            # The time of none that is kept warm must end while the others load: it would be missed.
            held = [self.keeper.hold(slot) for version, slot in entry.versions.items() if version in keep]
            try:
                if entry.desired.versions == ():
                    await self._follow(model, keep)  # nothing serves, so whatever can be loaded is to answer at once
                    held.clear()
                failures = await self._converge(definition, definition.wanted)
                if not failures:
                    await self._follow(model, keep)
                    held.clear()
                    self._compare(model, before)
            finally:
                for let_go in held:
                    let_go()
                self._withdraw_unwanted(model)
            return [*failures, *definition.missing]

        failures = await self.turns.take(model, "a load of what the source has", describe_and_follow)
        if failures:
            raise LoadFailed("; ".join(failures))

    async def unload(self, model: str) -> None:
        """Withdraw every version of a model and give its memory back after its last request; returns when that is done.

        Raises:
            NotFound: no such model is known here.
            PreconditionFailed: it cannot be recorded, and must be.
            Unavailable: the server is starting or shutting down.
        """
        self.keeper.require_open()

        async def withdraw_and_wait() -> None:
            if model not in self.catalog.models:
                raise NotFound(f"unknown model {model!r:.120}")
            remark = await self._record.put(model, wanted.stopped())
            if remark:
                self.keeper.remark(model, f"a restarted server would load it again: {remark}")
            self.keeper.choose(model, wanted.stopped())
            self.keeper.withdraw(self.catalog.models[model].versions.values())
            await self.keeper.retired(model)

        await self.turns.take(model, "the unload of all versions", withdraw_and_wait)

    def end_changes(self) -> None:
        """Begin and publish nothing any more; who follows an operation, or changes, is sent away with the reason."""
        self.keeper.closed = True
        self.operations.leave()
        self.keeper.changes.end(Unavailable(STOPPING))

    async def close(self) -> None:
        """Withdraw and unload everything; a load that is under way is discarded when it ends."""
        self.end_changes()
        await self.keeper.close()

    async def _bring(self, definition: ModelDefinition) -> None:
        """Bring what is wanted into service at the start."""
        versions = self.keeper.entry(definition.name).desired.versions
        await self._converge(definition, definition.wanted if versions is None else versions)

    async def _converge(self, definition: ModelDefinition, versions: Sequence[int]) -> list[str]:
        """Load what is wanted and not yet served; return why versions failed."""
        self.keeper.note(definition)
        before: Mapping[int, VersionSlot[G]] = self.keeper.entry(definition.name).versions
        served = {
            version for version in versions if version in before and await self._serves(before[version], definition)
        }
        fresh = [self.keeper.new(definition, version) for version in versions if version not in served]
        for slot in fresh:
            self.keeper.list(slot)
        async with asyncio.TaskGroup() as group:
            for slot in fresh:
                group.create_task(self._load(slot))
        return [slot.reason for slot in fresh if slot.state is VersionState.FAILED]

    async def _serves(self, slot: VersionSlot[G], definition: ModelDefinition) -> bool:
        return await self.keeper.serves(slot, definition) and slot.state is VersionState.READY

    async def _load(self, slot: VersionSlot[G]) -> None:
        definition = slot.definition
        if slot.version not in definition.versions:
            await self.keeper.fail(slot, definition.refused.get(slot.version, "it is not there"))
        elif await self.keeper.load(slot):
            self.keeper.publish(slot)

    async def _follow(self, model: str, keep: Collection[int]) -> None:
        """Have the policy decide again, and withdraw what is not to be kept."""
        entry = self.keeper.entry(model)
        desired = wanted.following(entry.desired, [version for version in entry.ready if version in keep])
        remark = await self._record.put(model, desired)
        if remark:
            self.keeper.remark(model, f"a restarted server would not serve the same: {remark}")
        versions = self.keeper.entry(model).versions
        for version in keep:
            if version in versions:
                self.keeper.keep(versions[version])
        # What leaves goes first, in the same step, so that it is not told to answer.
        self.keeper.withdraw(slot for version, slot in versions.items() if version not in keep)
        self.keeper.choose(model, desired)

    def _withdraw_unwanted(self, model: str) -> None:
        """Withdraw what the policy wanted and operators, whose choice still holds, do not."""
        entry = self.keeper.entry(model)
        versions = entry.desired.versions
        if versions is not None:
            self.keeper.withdraw(
                slot
                for version, slot in entry.versions.items()
                if version not in versions and slot.kept_until_s is None and slot is not entry.answering
            )

    def _signature(self, model: str) -> tuple[int, Signature] | None:
        """Return which version answers, and what it takes and gives."""
        slot = self.keeper.entry(model).answering
        return (slot.version, slot.loaded.signature) if slot is not None and slot.loaded is not None else None

    def _compare(self, model: str, before: tuple[int, Signature] | None) -> None:
        """Tell the operator where callers of what answered could not call what answers now."""
        after = self._signature(model)
        problems = breaks(before[1], after[1]) if before is not None and after is not None else ()
        if before is not None and after is not None and problems:
            which = f"callers of version {before[0]} cannot call version {after[0]}"
            self.keeper.remark(model, f"{which}: {'; '.join(problems)}")
