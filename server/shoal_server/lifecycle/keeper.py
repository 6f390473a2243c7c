"""Versions brought into memory, published, withdrawn and given back."""

import asyncio
import traceback
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Final, Generic

from shoal_server.errors import LoadFailed, Unavailable
from shoal_server.events import CurrentChosen, Event, MemoryKept, ModelRemarked, VersionBroken, VersionChanged
from shoal_server.lifecycle.catalog import Catalog, ModelEntry
from shoal_server.lifecycle.changes import Changes
from shoal_server.lifecycle.definition import ModelDefinition
from shoal_server.lifecycle.desired import Desired
from shoal_server.lifecycle.loading import Loading
from shoal_server.lifecycle.ports import LoadedModel, Resident
from shoal_server.lifecycle.slot import G, VersionSlot
from shoal_server.lifecycle.states import VersionState
from shoal_server.lifecycle.surroundings import Surroundings

STARTING: Final = "the server is starting and does not know its models yet"
STOPPING: Final = "the server is shutting down"
BUG: Final = "an internal error, which the server's log describes"

_LARGE_BYTES: Final = 64 << 20  # of less, other work hides whether it came back
_ENOUGH: Final = 0.5


class Keeper(Generic[G]):
    """The only one who moves versions and replaces the catalog. Loop only; loading happens on threads.

    A version is published after it works and withdrawn before it stops; it is unloaded after its last lease. Who calls
    ``load`` for a slot calls ``publish`` or ``fail`` for it afterwards.
    """

    def __init__(self, around: Surroundings[G]) -> None:
        self.catalog: Catalog[G] = Catalog()
        self.changes = Changes()
        self.known = False
        """Whether what there is, and what operators want of it, has been read; a change before that would be lost."""
        self.closed = False
        """Whether nothing is published any more."""
        self._around = around
        self._uids = count(1)
        self._retiring: dict[VersionSlot[G], asyncio.Task[None]] = {}
        self._warm: dict[VersionSlot[G], asyncio.TimerHandle] = {}
        self._loading = 0

    def stopping(self) -> str:
        """Return why nothing new is to be served, if nothing is."""
        return STOPPING if self.closed else ""

    def require_open(self) -> None:
        """Check that changes may begin.

        Raises:
            Unavailable: not yet, or no more.
        """
        if not self.known or self.closed:
            raise Unavailable(self.stopping() or STARTING)

    def entry(self, model: str) -> ModelEntry[G]:
        """Return what is known of a model; an empty entry where nothing is."""
        return self.catalog.models.get(model) or ModelEntry()

    def new(self, definition: ModelDefinition, version: int, *, trial: bool = False) -> VersionSlot[G]:
        """Return a slot that nobody sees yet."""
        return VersionSlot(definition.name, version, next(self._uids), definition, trial=trial)

    def set_entry(self, model: str, entry: ModelEntry[G]) -> None:
        """Have another entry for a model."""
        self.catalog = self.catalog.with_model(model, entry)
        self.changes.tell(model)

    def note(self, definition: ModelDefinition) -> None:
        """Take note of what a description says beside the versions."""
        entry = self.entry(definition.name)
        self.set_entry(definition.name, replace(entry, problem="", refused=definition.refused))
        for warning in definition.warnings:
            self.remark(definition.name, warning)

    def remark(self, model: str, warning: str) -> None:
        """Tell the operator something of a model."""
        self.tell(ModelRemarked(model, warning))

    def list(self, slot: VersionSlot[G]) -> None:
        """Show a slot in the catalog, unless something serves under its number."""
        entry = self.entry(slot.model)
        there = entry.versions.get(slot.version)
        if there is None or there.state is not VersionState.READY:
            self.set_entry(slot.model, _with(entry, slot))

    async def serves(self, slot: VersionSlot[G], definition: ModelDefinition) -> bool:
        """Whether a slot serves what a definition, which has its version, says, from files that are still the same."""
        loaded = slot.loaded
        return (
            slot.state is VersionState.READY
            and loaded is not None
            and slot.definition.same_serving(definition, slot.version)
            and await self._around.workers.call(loaded.is_current)
        )

    async def load(
        self, slot: VersionSlot[G], reached: Callable[[VersionState, float], None] = lambda _state, _at_s: None
    ) -> bool:
        """Load a version, up to where it could be published; return whether that worked. If not, the slot has failed.

        ``reached`` hears when the load and the warm-up began, in monotonic seconds.
        """
        if problem := self.stopping():
            self._move(slot, VersionState.FAILED, _failure(slot, problem))
            return False
        self._loading += 1
        try:
            slot.loaded = await Loading(slot, self._around, partial(self._reached, slot, reached)).result()
            slot.engine = self._around.engine(slot, slot.loaded, partial(self._broke, slot))
        except LoadFailed as error:
            problem = str(error)
        except MemoryError:
            problem = "there is not enough memory for it"
        except Exception as error:  # noqa: BLE001 - what a runtime may raise is not ours to enumerate
            problem = self._broken(slot, error)
        else:
            problem = self.stopping()
        finally:
            self._loading -= 1
        if problem:
            await self.fail(slot, problem)
        return not problem

    async def fail(self, slot: VersionSlot[G], problem: str) -> None:
        """Give up a version that was not published, and its memory."""
        loaded, slot.loaded = slot.loaded, None
        self._move(slot, VersionState.FAILED, _failure(slot, problem))
        await self._give_back(slot, loaded)

    def publish(self, slot: VersionSlot[G]) -> None:
        """Let a loaded version serve under its number, and withdraw what it replaces there."""
        entry = self.entry(slot.model)
        replaced = entry.versions.get(slot.version)
        self._move(slot, VersionState.READY)
        self.set_entry(slot.model, _with(entry, slot))
        if replaced is not None and replaced is not slot:
            self.withdraw([replaced])

    def choose(self, model: str, desired: Desired, stand_in: int | None = None) -> None:
        """Have calls without a version reach what operators want; in one step with a ``publish`` before it.

        What stands in follows from what is wanted, so it changes with that alone.
        """
        entry = self.entry(model)
        if entry.desired == desired:
            return
        self.set_entry(model, replace(entry, desired=desired, stand_in=stand_in))
        answering = self.entry(model).answering
        self.tell(CurrentChosen(model, answering.version if answering is not None else 0))

    def withdraw(self, slots: Iterable[VersionSlot[G]], reason: str = "") -> None:
        """Withdraw those that are ready now, all in one step; each is unloaded after its last lease."""
        leaving = [slot for slot in slots if slot.state is VersionState.READY]
        for slot in leaving:
            self.keep(slot)
            self._move(slot, VersionState.DRAINING, reason)
        if leaving:
            self.catalog = Catalog(self.catalog.models)  # the same slots; which of them answers has changed
        for slot in leaving:
            assert slot.engine is not None, "it was ready"
            slot.engine.hurry()
            self._retiring[slot] = asyncio.get_running_loop().create_task(self._retire(slot, reason))

    def keep_warm(self, slot: VersionSlot[G], keep_warm_s: float) -> None:
        """Withdraw a version after that many seconds, unless it is the one that answers then."""
        self.keep(slot)
        slot.kept_until_s = self._around.clock.monotonic() + keep_warm_s
        self._warm[slot] = asyncio.get_running_loop().call_later(keep_warm_s, self._cool, slot)
        self.changes.tell(slot.model)

    def keep(self, slot: VersionSlot[G]) -> None:
        """Keep a version for as long as it is wanted."""
        slot.kept_until_s = None
        timer = self._warm.pop(slot, None)
        if timer is not None:
            timer.cancel()
            self.changes.tell(slot.model)

    def hold(self, slot: VersionSlot[G]) -> Callable[[], None]:
        """Keep a version whatever its time; return what gives it the time back that it had."""
        until_s = slot.kept_until_s
        self.keep(slot)

        def let_go() -> None:
            if until_s is not None and slot.state is VersionState.READY:
                self.keep_warm(slot, max(until_s - self._around.clock.monotonic(), 0.0))

        return let_go

    async def retired(self, model: str) -> None:
        """Wait until every version of a model that was withdrawn is unloaded."""
        await _all(task for slot, task in self._retiring.items() if slot.model == model)

    async def retired_slot(self, slot: VersionSlot[G]) -> None:
        """Wait until one version is unloaded that was withdrawn."""
        await _all(task for other, task in self._retiring.items() if other is slot)

    async def close(self) -> None:
        """Withdraw and unload everything, once ``closed`` says that nothing is to be published any more."""
        self.withdraw(self.catalog.slots())
        await _all(self._retiring.values())

    def tell(self, event: Event) -> None:
        """Tell the observer."""
        # In a turn of the loop of its own: an observer that raises, against its contract, leaves nothing half done.
        asyncio.get_running_loop().call_soon(self._around.observer.observe, event)

    def _reached(
        self, slot: VersionSlot[G], told: Callable[[VersionState, float], None], state: VersionState, at_s: float
    ) -> None:
        self._move(slot, state)
        told(state, at_s)

    def _cool(self, slot: VersionSlot[G]) -> None:
        """The time is over for which a replaced version is kept."""
        self.keep(slot)
        if self.entry(slot.model).answering is not slot:
            self.withdraw([slot])

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
        if loaded is None:
            return ""
        try:
            # The session's last reference goes on a thread: freeing a large one takes tens of milliseconds.
            returned_bytes = await self._around.workers.call(lambda: _close(loaded, self._around.resident))
        except Exception as error:  # noqa: BLE001 - what a runtime may raise is not ours to enumerate
            return f"unloaded, and closing it failed: {self._broken(slot, error)}"
        size_bytes = sum(file.size_bytes for file in loaded.files)
        if returned_bytes is None or size_bytes < _LARGE_BYTES or self._loading:
            return ""  # what loads at the same time takes what this one gave
        if returned_bytes < _ENOUGH * size_bytes:
            self.tell(MemoryKept(slot.model, slot.version, size_bytes, returned_bytes))
        return ""

    def _broke(self, slot: VersionSlot[G], reason: str) -> None:
        """A version can serve no more: whoever waits for it, be it withdrawn already, is answered at once."""
        self.withdraw([slot], reason)
        if slot.engine is not None:
            slot.engine.fail_waiting(Unavailable(f"version {slot.version} of model '{slot.model}': {reason}"))

    def _broken(self, slot: VersionSlot[G], error: Exception) -> str:
        """Tell the log of an error that nobody foresaw; return what callers may read of it."""
        frames = [*traceback.walk_tb(error.__traceback__)]
        where = "".join(f", line {line} of {frame.f_code.co_filename}" for frame, line in frames[-1:])
        self.tell(VersionBroken(slot.model, slot.version, f"{error!r}{where}"))
        return BUG

    def _move(self, slot: VersionSlot[G], state: VersionState, reason: str = "") -> None:
        slot.move(state, reason)
        if not slot.trial:
            self.changes.tell(slot.model)
            self.tell(VersionChanged(slot.model, slot.version, state.value, reason))


def _with(entry: ModelEntry[G], slot: VersionSlot[G]) -> ModelEntry[G]:
    return replace(entry, versions=dict(sorted({**entry.versions, slot.version: slot}.items())))


def _failure(slot: VersionSlot[G], problem: str) -> str:
    return f"version {slot.version} of model '{slot.model}': {problem}"


def _close(loaded: LoadedModel, resident: Resident) -> int | None:
    """Close a model; return how much memory came back, None where that cannot be known."""
    before_bytes = resident.look().now_bytes
    loaded.close()
    after_bytes = resident.look().now_bytes
    return before_bytes - after_bytes if after_bytes else None


async def _all(tasks: Iterable[asyncio.Task[None]]) -> None:
    waiting = [*tasks]
    if waiting:
        await asyncio.wait(waiting)
