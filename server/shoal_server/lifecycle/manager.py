"""Brings the versions that are wanted into service and takes the others out."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from functools import partial
from itertools import count
from typing import Generic, Protocol, TypeVar

from shoal_server.errors import LoadFailed, NotFound, Unavailable
from shoal_server.events import Event, ModelRemarked, Observer, VersionChanged
from shoal_server.lifecycle.catalog import Catalog, ModelEntry
from shoal_server.lifecycle.definition import ModelDefinition
from shoal_server.lifecycle.ports import LoadedModel, Loader, Source
from shoal_server.lifecycle.slot import G, VersionSlot
from shoal_server.lifecycle.states import VersionState

T = TypeVar("T")
R = TypeVar("R")


class InThread(Protocol):
    """Runs blocking work on one of a bounded number of threads."""

    def __call__(self, work: Callable[[], T]) -> Awaitable[T]:
        """Return what ``work`` returns, or raise what it raises."""
        ...


class EngineFactory(Protocol[G]):
    """Makes what serves a loaded version. ``broken`` is to be called when the engine can serve no more."""

    def __call__(self, slot: VersionSlot[G], loaded: LoadedModel, broken: Callable[[str], None]) -> G:
        """Return an engine that is ready to serve."""
        ...


class Manager(Generic[G]):
    """The only one who changes the catalog. Loop only; loading happens ``in_thread``.

    A version is published after it works and withdrawn before it stops; it is unloaded after its last lease. What fails
    to load never touches what serves. Work on one model happens in order; models do not wait for each other. Work that
    has begun goes on to its end even if its caller is cancelled, since a change half made would stay half made.
    """

    def __init__(
        self, source: Source, loader: Loader, engine: EngineFactory[G], in_thread: InThread, observer: Observer
    ) -> None:
        self.catalog: Catalog[G] = Catalog()
        self._source = source
        self._loader = loader
        self._engine = engine
        self._in_thread = in_thread
        self._observer = observer
        self._uids = count(1)
        self._turns: dict[str, asyncio.Task[object]] = {}
        self._retiring: dict[VersionSlot[G], asyncio.Task[None]] = {}
        self._closed = False

    async def start(self) -> None:
        """Load all that the source has; each model that cannot be served is listed with its reason.

        Raises:
            LoadFailed: the source itself cannot be read.
        """
        found = await self._in_thread(self._source.scan)
        problems: dict[str, ModelEntry[G]] = {
            name: ModelEntry(problem=str(problem)) for name, problem in found.items() if isinstance(problem, LoadFailed)
        }
        self.catalog = Catalog({**self.catalog.models, **problems})
        for name, entry in problems.items():
            self._tell(ModelRemarked(name, entry.problem))
        async with asyncio.TaskGroup() as group:
            for definition in found.values():
                if isinstance(definition, ModelDefinition):
                    group.create_task(self._in_turn(definition.name, partial(self._converge, definition)))

    async def load(self, model: str) -> None:
        """Read a model's description again and bring its wanted versions into service.

        A version that serves already from the same files with the same options stays as it is. Versions no longer
        wanted are withdrawn once every wanted one is ready.

        Raises:
            NotFound: the source has no such model.
            LoadFailed: the description or a wanted version is unusable; what served before serves on.
        """

        async def describe_and_converge() -> list[str]:
            definition = await self._in_thread(lambda: self._source.describe(model))
            return [*await self._converge(definition), *definition.missing]

        failures = await self._in_turn(model, describe_and_converge)
        if failures:
            raise LoadFailed("; ".join(failures))

    async def unload(self, model: str) -> None:
        """Withdraw every version of a model and give its memory back after its last request; returns when that is done.

        Raises:
            NotFound: no such model is known here.
        """

        async def withdraw_and_wait() -> None:
            entry = self.catalog.models.get(model)
            if entry is None:
                raise NotFound(f"unknown model {model!r:.120}")
            self._withdraw(entry.versions.values())
            await self._retired(task for slot, task in self._retiring.items() if slot.model == model)

        await self._in_turn(model, withdraw_and_wait)

    async def close(self) -> None:
        """Withdraw and unload everything; a load that is under way is discarded when it ends."""
        self._closed = True
        self._withdraw(self.catalog.slots())
        await self._retired(self._retiring.values())

    async def _in_turn(self, model: str, work: Callable[[], Coroutine[object, object, R]]) -> R:
        """Run ``work`` when all earlier work on the model has ended, and to its end."""
        before = self._turns.get(model)
        wanted = True

        async def turn() -> R:
            try:
                if before is not None:
                    await asyncio.wait([before])
                if not wanted:
                    raise asyncio.CancelledError
                return await work()
            finally:
                if self._turns.get(model) is task:
                    del self._turns[model]

        task = asyncio.get_running_loop().create_task(turn())
        self._turns[model] = task
        try:
            return await asyncio.shield(task)
        finally:
            wanted = False

    async def _converge(self, definition: ModelDefinition) -> list[str]:
        """Load what is wanted and not yet served, then withdraw what is not wanted; return why versions failed."""
        name = definition.name
        before = self._described(definition)
        unchanged = [slot for slot in before.values() if await self._serves(slot, definition)]
        served = {slot.version for slot in unchanged if slot.state is VersionState.READY}
        fresh = [
            VersionSlot[G](name, version, next(self._uids), definition)
            for version in definition.wanted
            if version not in served
        ]
        for slot in fresh:
            if slot.version not in before or before[slot.version].state is not VersionState.READY:
                self._put(slot)
        async with asyncio.TaskGroup() as group:
            for slot in fresh:
                group.create_task(self._load(slot))
        failures = [slot.reason for slot in fresh if slot.state is VersionState.FAILED]
        if not failures:
            # What serves and was overwritten by something unusable serves on.
            keep = {*definition.wanted, *definition.refused}
            self._withdraw(slot for version, slot in before.items() if version not in keep)
        return failures

    def _described(self, definition: ModelDefinition) -> Mapping[int, VersionSlot[G]]:
        """Take note of what a description says beside the versions; return those that there are so far."""
        entry = self.catalog.models.get(definition.name, ModelEntry())
        self.catalog = self.catalog.with_model(definition.name, ModelEntry(entry.versions, refused=definition.refused))
        for warning in definition.warnings:
            self._tell(ModelRemarked(definition.name, warning))
        return entry.versions

    async def _serves(self, slot: VersionSlot[G], definition: ModelDefinition) -> bool:
        """Whether the slot serves what the definition asks for."""
        loaded = slot.loaded
        return (
            slot.state is VersionState.READY
            and loaded is not None
            and slot.version in definition.wanted
            and slot.definition.same_serving(definition, slot.version)
            and await self._in_thread(loaded.is_current)
        )

    async def _load(self, slot: VersionSlot[G]) -> None:
        loaded = None
        try:
            if not self._closed:
                self._move(slot, VersionState.LOADING)
                loaded = await self._in_thread(lambda: self._loader.load(slot.definition, slot.version))
                slot.engine = self._engine(slot, loaded, lambda reason: self._break(slot, reason))
        except LoadFailed as error:
            problem = str(error)
        except Exception as error:  # noqa: BLE001 - what a runtime may raise is not ours to enumerate
            problem = repr(error)
        else:
            problem = "the server is shutting down" if self._closed else ""
        if problem:
            self._move(slot, VersionState.FAILED, f"version {slot.version} of model '{slot.model}': {problem}")
            await self._give_back(slot, loaded)
            return
        slot.loaded = loaded
        self._move(slot, VersionState.READY)
        self._put(slot)

    def _break(self, slot: VersionSlot[G], reason: str) -> None:
        """An engine can serve no more: withdraw its version."""
        self._withdraw([slot], reason)

    def _withdraw(self, slots: Iterable[VersionSlot[G]], reason: str = "") -> None:
        """Withdraw those that are ready now, all in one step; each is unloaded after its last lease."""
        leaving = [slot for slot in slots if slot.state is VersionState.READY]
        for slot in leaving:
            self._move(slot, VersionState.DRAINING, reason)
        if leaving:
            self.catalog = Catalog(self.catalog.models)  # the same slots; which of them is the newest ready has changed
        for slot in leaving:
            if slot.engine is not None:
                slot.engine.hurry()
            if reason and slot.engine is not None:
                slot.engine.fail_waiting(Unavailable(f"version {slot.version} of model '{slot.model}': {reason}"))
            self._retiring[slot] = asyncio.get_running_loop().create_task(self._retire(slot, reason))

    async def _retire(self, slot: VersionSlot[G], reason: str) -> None:
        """Unload a version that was withdrawn, after its last lease."""
        await slot.drained()
        self._move(slot, VersionState.UNLOADING, reason)
        loaded, slot.loaded = slot.loaded, None
        problem = await self._give_back(slot, loaded)
        self._move(slot, VersionState.UNLOADED, problem or reason or "unloaded")
        del self._retiring[slot]

    async def _give_back(self, slot: VersionSlot[G], loaded: LoadedModel | None) -> str:
        """Close the engine and the model; return why that failed, if it did."""
        engine, slot.engine = slot.engine, None
        if engine is not None:
            engine.close()
        if loaded is not None:
            try:
                # The session's last reference goes on a thread: freeing a large one takes tens of milliseconds.
                await self._in_thread(loaded.close)
            except Exception as error:  # noqa: BLE001 - what a runtime may raise is not ours to enumerate
                return f"unloaded, and closing it failed: {error!r}"
        return ""

    @staticmethod
    async def _retired(tasks: Iterable[asyncio.Task[None]]) -> None:
        waiting = list(tasks)
        if waiting:
            await asyncio.wait(waiting)

    def _move(self, slot: VersionSlot[G], state: VersionState, reason: str = "") -> None:
        slot.move(state, reason)
        self._tell(VersionChanged(slot.model, slot.version, state.value, reason))

    def _tell(self, event: Event) -> None:
        # In a turn of the loop of its own: an observer that raises, against its contract, leaves nothing half done.
        asyncio.get_running_loop().call_soon(self._observer.observe, event)

    def _put(self, slot: VersionSlot[G]) -> None:
        """Publish a slot under its version, and withdraw what it replaces."""
        entry = self.catalog.models[slot.model]
        replaced = entry.versions.get(slot.version)
        versions = dict(sorted({**entry.versions, slot.version: slot}.items()))
        self.catalog = self.catalog.with_model(slot.model, ModelEntry(versions, refused=entry.refused))
        if replaced is not None and replaced is not slot:
            self._withdraw([replaced])
