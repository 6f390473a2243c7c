"""What each operation does to a model: decide what is wanted, load what is missing, record, publish, retire."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Final, Generic

from shoal_server.errors import LoadFailed, NotFound, PreconditionFailed, Unavailable
from shoal_server.lifecycle import desired as wanted
from shoal_server.lifecycle.catalog import ModelEntry
from shoal_server.lifecycle.compatibility import breaks
from shoal_server.lifecycle.desired import Desired
from shoal_server.lifecycle.keeper import Keeper
from shoal_server.lifecycle.ports import Source, Workers
from shoal_server.lifecycle.progress import Operation, Result, StepKind
from shoal_server.lifecycle.record import Record
from shoal_server.lifecycle.requests import Load, Request, Rollback, SetLabel, Swap, Unload
from shoal_server.lifecycle.slot import G, VersionSlot
from shoal_server.lifecycle.states import VersionState

_MOST_LABELS: Final = 64


@dataclass(frozen=True, slots=True)
class _Change(Generic[G]):
    """What is to become of a model: ``slot`` serves, fresh or not, and the ``leaving`` versions are withdrawn.

    ``keep_warm_s``: how long the one of them stays that answered; 0 unloads it at once.
    """

    desired: Desired
    slot: VersionSlot[G] | None = None
    leaving: Collection[int] = ()
    stand_in: int | None = None
    keep_warm_s: float = 0.0


class Changing(Generic[G]):
    """Carries operations out. Loop only; one at a time for each model.

    Whatever fails before the publishing has changed nothing that serves. An entry that was taken before a load is as
    good after it: nobody else changes what is wanted meanwhile, and what breaks or cools shows in the slots.
    """

    def __init__(self, keeper: Keeper[G], record: Record, source: Source, workers: Workers, keep_warm_s: float) -> None:
        self._keeper = keeper
        self._record = record
        self._source = source
        self._workers = workers
        self._keep_warm_s = keep_warm_s

    async def carry_out(self, operation: Operation) -> Result:
        """Do what an operation asks for.

        Raises:
            ShoalError: it cannot be done; what serves is as it was.
        """
        request = operation.request
        answering = _answering(self._keeper.entry(request.model))
        if request.expected and request.expected != answering:
            raise PreconditionFailed(
                f"version {request.expected} of model '{request.model}' is expected to answer, "
                f"{f'version {answering} does' if answering else 'none does'}"
            )
        if not request.dry_run:
            await self._record.prepare()
        match request:
            case Swap():
                return await self._swap(operation, request)
            case Load():
                return await self._load(operation, request)
            case Unload():
                return await self._unload(operation, request)
            case Rollback():
                return await self._roll_back(operation, request)
            case SetLabel():
                return await self._set_label(operation, request)
            case _:
                raise AssertionError(request)

    async def _swap(self, operation: Operation, request: Swap) -> Result:
        model, version = request.model, request.version
        entry = self._keeper.entry(model)
        if _answering(entry) == version and entry.desired.current in {None, version}:
            return await self._as_it_was(request)
        slot = await self._slot(operation, version)
        if not request.allow_signature_change:
            await self._require_compatible(slot)
        replaced = _answering(entry)
        keep_warm_s = self._keep_warm_s if request.keep_warm_s is None else request.keep_warm_s
        desired = wanted.swapped(_pinned(entry), version, replaced)
        change = _Change(desired, slot, _beside(entry, desired), desired.previous, keep_warm_s)
        return await self._change(operation, change)

    async def _load(self, operation: Operation, request: Load) -> Result:
        entry = self._keeper.entry(request.model)
        versions = entry.ready if entry.desired.versions is None else entry.desired.versions
        if request.version in versions and request.version in entry.ready:
            return await self._as_it_was(request)
        slot = await self._slot(operation, request.version)
        desired = wanted.loaded(_pinned(entry), request.version)
        result = await self._change(operation, _Change(desired, slot, stand_in=entry.stand_in))
        if desired.current:
            return result
        return replace(result, remarks=(*result.remarks, "no version answers calls without one: swap to one"))

    async def _unload(self, operation: Operation, request: Unload) -> Result:
        model, version = request.model, request.version
        entry = self._entry(model)
        if version not in entry.versions and version not in (entry.desired.versions or ()):
            raise NotFound(f"model '{model}' has no version {version}; it has {sorted(entry.versions)}")
        if version in {_answering(entry), entry.desired.current} and not request.force:
            raise PreconditionFailed(f"version {version} of model '{model}' answers: swap to another, or force it")
        desired = wanted.unloaded(_pinned(entry), version)
        if version not in entry.ready and version not in (entry.desired.versions or ()):
            return self._unchanged(request)
        stand_in = None if entry.stand_in == version else entry.stand_in
        result = await self._change(operation, _Change(desired, None, (version,), stand_in))
        gone = sorted(label for label, number in entry.desired.labels.items() if number == version)
        if not gone:
            return result
        return replace(result, remarks=(*result.remarks, f"gone with it: the labels {', '.join(gone)}"))

    async def _roll_back(self, operation: Operation, request: Rollback) -> Result:
        entry = self._entry(request.model)
        previous = entry.desired.previous
        if previous is None:
            raise PreconditionFailed(f"no swap of model '{request.model}' is left to be rolled back")
        warm = entry.versions.get(previous)
        slot = warm if warm is not None and warm.state is VersionState.READY else None
        slot = slot or await self._slot(operation, previous)
        desired = wanted.rolled_back(entry.desired, _answering(entry))
        return await self._change(operation, _Change(desired, slot, _beside(entry, desired)))

    async def _set_label(self, operation: Operation, request: SetLabel) -> Result:
        model, label, version = request.model, request.label, request.version
        entry = self._entry(model)
        before = entry.desired.labels.get(label, 0)
        desired = wanted.labelled(entry.desired, label, version)
        if desired == entry.desired:
            return self._unchanged(request, label_before=before)
        if version and version not in entry.ready:
            if version in entry.versions:
                state = entry.versions[version].state.value
            else:
                definition = await self._workers.call(lambda: self._source.describe(model))
                present = {*definition.versions, *definition.refused}
                if version not in present:
                    raise NotFound(f"model '{model}' has no version {version}; it has {sorted(present)}")
                state = "not loaded"
            raise PreconditionFailed(f"version {version} of model '{model}' is {state}: load it first")
        if len(desired.labels) > _MOST_LABELS:
            raise PreconditionFailed(f"model '{model}' has {_MOST_LABELS} labels already: take one away first")
        change = _Change(desired, entry.versions.get(version), stand_in=entry.stand_in)
        return replace(await self._change(operation, change), label_before=before)

    async def _slot(self, operation: Operation, version: int) -> VersionSlot[G]:
        """Return a slot of that version that serves, or that could; loaded now unless it is there and up to date.

        Raises:
            NotFound: the source has no such model or version.
            LoadFailed: it cannot be served; the catalog says why as well.
        """
        model, dry_run = operation.request.model, operation.request.dry_run
        with operation.step(StepKind.DESCRIBE, 0):
            definition = await self._workers.call(lambda: self._source.describe(model))
        self._keeper.note(definition)
        if version not in definition.versions:
            if version in definition.refused:
                raise LoadFailed(f"version {version} of model '{model}': {definition.refused[version]}")
            raise NotFound(f"model '{model}' has no version {version}; it has {sorted(definition.versions)}")
        there = self._keeper.entry(model).versions.get(version)
        if there is not None and await self._keeper.serves(there, definition):
            return there
        slot = self._keeper.new(definition, version, trial=dry_run)
        if not dry_run:
            self._keeper.list(slot)
        if not await self._load_slot(operation, slot):
            raise LoadFailed(slot.reason)
        return slot

    async def _load_slot(self, operation: Operation, slot: VersionSlot[G]) -> bool:
        ends: list[Callable[[float | None], None]] = []

        def reached(state: VersionState, at_s: float) -> None:
            if ends:
                ends.pop()(at_s)
            kind = StepKind.LOAD if state is VersionState.LOADING else StepKind.WARM_UP
            ends.append(operation.begin(kind, slot.version, at_s))

        try:
            return await self._keeper.load(slot, reached)
        finally:
            if ends:
                ends.pop()(None)

    async def _require_compatible(self, slot: VersionSlot[G]) -> None:
        """Check that callers of what answers could call the slot; else drop it."""
        before = self._keeper.entry(slot.model).answering
        if before is None or before.loaded is None or slot.loaded is None:
            return
        problems = breaks(before.loaded.signature, slot.loaded.signature)
        if problems:
            text = f"callers of version {before.version} could not call it: {'; '.join(problems)}"
            await self._drop(slot, text)
            raise PreconditionFailed(
                f"version {slot.version} of model '{slot.model}': {text}; else let the signature change"
            )

    async def _change(self, operation: Operation, change: _Change[G]) -> Result:
        """Record, publish and retire; the last in the operation where nothing is kept warm."""
        request, slot = operation.request, change.slot
        files = tuple(slot.loaded.files) if slot is not None and slot.loaded is not None else ()
        if request.dry_run:
            await self._drop(slot, "it was only tried")
            return replace(self._unchanged(request), files=files)
        remark = await self._recorded(operation, change)
        before = self._keeper.entry(request.model).answering
        leaving = self._published(operation, change)
        answered = [old for old in leaving if old is before]
        result = Result(
            request.model,
            before.version if before is not None else 0,
            _answering(self._keeper.entry(request.model)),
            changed=True,
            recorded=not remark,
            files=files,
            remarks=(remark,) if remark else (),
        )
        if change.keep_warm_s and answered:
            self._keeper.keep_warm(answered[0], change.keep_warm_s)
            leaving.remove(answered[0])
            result = replace(result, kept_until_s=answered[0].kept_until_s)
        self._keeper.withdraw(leaving)
        if not change.keep_warm_s:
            await self._retired(operation, leaving)
        return result

    async def _recorded(self, operation: Operation, change: _Change[G]) -> str:
        """Record what is wanted, and look that it can still be had; return why it could not be recorded.

        A slot that is kept warm is afterwards kept for good, unless this raises.
        """
        model, slot = operation.request.model, change.slot
        before = self._keeper.entry(model).desired
        # Its time must not end between the record and the publishing: what is recorded would not come.
        let_go = self._keeper.hold(slot) if slot is not None else _nothing
        try:
            with operation.step(StepKind.RECORD, 0):
                remark = await self._record.put(model, change.desired)
        except PreconditionFailed as error:
            await self._drop(slot, str(error))
            let_go()
            raise
        problem = self._lost(slot)
        if problem:
            await self._drop(slot, problem)
            await self._record.put(model, before)
            raise Unavailable(problem)
        if remark:
            self._keeper.remark(model, f"a restarted server would not serve the same: {remark}")
        return remark

    def _published(self, operation: Operation, change: _Change[G]) -> list[VersionSlot[G]]:
        """Let calls reach what is wanted, in one step; return what serves and is wanted no more."""
        model, slot = operation.request.model, change.slot
        with operation.step(StepKind.PUBLISH, slot.version if slot is not None else 0):
            if slot is not None and slot.state is VersionState.WARMING:
                self._keeper.publish(slot)
            self._keeper.choose(model, change.desired, change.stand_in)
        versions = self._keeper.entry(model).versions
        there = [versions[number] for number in change.leaving if number in versions]
        return [old for old in there if old.state is VersionState.READY]

    async def _retired(self, operation: Operation, leaving: list[VersionSlot[G]]) -> None:
        for slot in leaving:
            with operation.step(StepKind.DRAIN, slot.version):
                await slot.drained()
            with operation.step(StepKind.UNLOAD, slot.version):
                await self._keeper.retired_slot(slot)

    def _lost(self, slot: VersionSlot[G] | None) -> str:
        """Return why a version that was to be published cannot be any more, if it cannot."""
        if stopping := self._keeper.stopping():
            return stopping
        if slot is None or slot.state in {VersionState.READY, VersionState.WARMING}:
            return ""
        return f"version {slot.version} of model '{slot.model}' is {slot.state.value}: {slot.reason}"

    async def _drop(self, slot: VersionSlot[G] | None, why: str) -> None:
        """Give up a version that was loaded for nothing; one that serves stays."""
        if slot is not None and slot.state is VersionState.WARMING:
            await self._keeper.fail(slot, why)

    def _entry(self, model: str) -> ModelEntry[G]:
        entry = self._keeper.catalog.models.get(model)
        if entry is None:
            raise NotFound(f"unknown model {model!r:.120}")
        return entry

    async def _as_it_was(self, request: Swap | Load) -> Result:
        """Nothing is to be done; tell the operator who overwrote the file and expects it to be read."""
        result = self._unchanged(request)
        loaded = self._keeper.entry(request.model).versions[request.version].loaded
        if loaded is None or await self._workers.call(loaded.is_current):
            return result
        remark = "its files have changed since it was loaded: RepositoryModelLoad reads them again"
        return replace(result, remarks=(remark,))

    def _unchanged(self, request: Request, label_before: int = 0) -> Result:
        answering = _answering(self._keeper.entry(request.model))
        return Result(request.model, answering, answering, changed=False, label_before=label_before)


def _answering(entry: ModelEntry[G]) -> int:
    slot = entry.answering
    return slot.version if slot is not None else 0


def _pinned(entry: ModelEntry[G]) -> Desired:
    return wanted.pinned(entry.desired, entry.ready, _answering(entry))


def _beside(entry: ModelEntry[G], desired: Desired) -> list[int]:
    """Return the versions that serve and are wanted no more."""
    return [version for version in entry.ready if version not in (desired.versions or ())]


def _nothing() -> None:
    """There is nothing to let go."""
