"""The operators of a simulation: they change models, and look what becomes of what they asked for."""

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from shoal_server.errors import (
    Conflict,
    InternalError,
    LoadFailed,
    NotFound,
    PreconditionFailed,
    ShoalError,
    Unavailable,
)
from shoal_server.lifecycle.definition import ModelDefinition
from shoal_server.lifecycle.progress import Result
from shoal_server.lifecycle.requests import Load, Request, Rollback, SetLabel, Swap, Unload
from shoal_server.lifecycle.states import VersionState
from shoal_testing.expected_refusal import answering
from shoal_testing.scenario import OPERATIONS, Change, Operation, changed

if TYPE_CHECKING:
    from shoal_testing.simulation import Simulation


class Operators:
    """Each does one operation; ``dismiss`` says when all are to be done."""

    def __init__(self, simulation: "Simulation") -> None:
        self.load_trouble: dict[str, Change] = {}
        """What loads of a model meet from now on."""
        self.unwritten = False
        """Whether anything could not be recorded so far and was done nevertheless."""
        self._simulation = simulation
        self._tasks: list[asyncio.Task[None]] = []

    def begin(self, operation: Operation) -> None:
        """Have somebody do that; he may leave."""
        loop = self._simulation.core.loop
        task = loop.create_task(self._operate(operation))
        self._tasks.append(task)
        if operation.cancel_after_s is not None:
            loop.call_later(operation.cancel_after_s, task.cancel)

    async def _operate(self, operation: Operation) -> None:
        name, core, store = operation.model, self._simulation.core, self._simulation.store
        if operation.change in OPERATIONS:
            await self._operate_version(operation)
            return
        if operation.change in {Change.FILL_DISK, Change.EMPTY_DISK}:
            store.trouble = "the disk is full" if operation.change is Change.FILL_DISK else ""
            store.trouble_comes_late = operation.force
            self.unwritten = self.unwritten or (bool(store.trouble) and not store.required)
            return
        if operation.change is Change.UNLOAD:
            self._simulation.served.discard(name)
        described = core.source.models[name]
        assert isinstance(described, ModelDefinition)
        if operation.change is Change.TOUCH:
            for model in core.loader.loaded:
                model.current = False
        elif operation.change in {Change.SPOIL, Change.CRASH, Change.STALL, Change.MEND}:
            self.load_trouble[name] = operation.change
        else:
            core.source.models[name] = changed(described, operation.change)
        work: Coroutine[Any, Any, None] = (
            core.manager.unload(name) if operation.change is Change.UNLOAD else core.manager.load(name)
        )
        try:
            await work
        except (LoadFailed, NotFound, PreconditionFailed):
            return
        except Unavailable:
            assert self._simulation.closing, "changes are refused only by a server that ends"

    async def _operate_version(self, operation: Operation) -> None:
        """Do an operation on one version; one that fails has changed nothing, one that succeeds what it says."""
        manager, name = self._simulation.core.manager, operation.model
        try:
            begun = manager.operations.begin(_request_of(operation))
        except (Conflict, Unavailable):
            return
        before = manager.catalog.models[name]
        answered = answering(before)
        if operation.force:
            self._simulation.served.discard(name)
        try:
            outcome: Result | ShoalError = await begun.result()
        except ShoalError as error:
            outcome = error
        assert not isinstance(outcome, InternalError), outcome
        after = manager.catalog.models[name]
        if isinstance(outcome, ShoalError) or not outcome.changed:
            if manager.turns.running(name) is None:
                assert after.desired == before.desired, f"{operation} failed and changed what is wanted"
                assert answered is None or answered.state is not VersionState.READY or answering(after) is answered
            return
        assert not operation.dry_run, "a dry run changed something"
        if operation.change is Change.SWAP:
            assert outcome.after == operation.version
            assert outcome.before != operation.version

    def dismiss(self) -> None:
        """Nothing may be left: loads that stall have been given up."""
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        assert not left, f"left behind: {left}"
        for operator in self._tasks:
            if not operator.cancelled():
                operator.result()


def _request_of(operation: Operation) -> Request:
    """Return what an operator asks for."""
    common: dict[str, Any] = {"model": operation.model, "dry_run": operation.dry_run}
    match operation.change:
        case Change.SWAP:
            return Swap(version=operation.version, keep_warm_s=operation.keep_warm_s, **common)
        case Change.LOAD_VERSION:
            return Load(version=operation.version, **common)
        case Change.UNLOAD_VERSION:
            return Unload(version=operation.version, force=operation.force, **common)
        case Change.ROLL_BACK_SWAP:
            return Rollback(**common)
        case _:
            return SetLabel(label="blue", version=operation.version, **common)
