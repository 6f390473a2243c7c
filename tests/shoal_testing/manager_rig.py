"""A manager over fakes, with an engine that only remembers what happened to it."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any

from shoal_server.errors import LoadFailed, ShoalError
from shoal_server.events import Observer, VersionChanged
from shoal_server.lifecycle.definition import ModelDefinition
from shoal_server.lifecycle.manager import Manager
from shoal_server.lifecycle.ports import LoadedModel
from shoal_server.lifecycle.slot import VersionSlot
from shoal_server.lifecycle.states import VersionState
from shoal_server.lifecycle.surroundings import Surroundings
from shoal_testing.fake_executor import FakeWorkers, void
from shoal_testing.fake_model import FakeModel, Kind
from shoal_testing.fakes import FakeLoader, FakeResident, FakeSource, FakeStore, RecordingObserver
from shoal_testing.virtual_threads import VirtualThreads
from shoal_testing.virtual_time import VirtualClock, run_virtual, virtual_loop

LOAD_S = 0.1
LIMIT_S = 600.0
KEEP_WARM_S = 60.0


class Engine:
    """Knows who broke it, and whether it was hurried and closed."""

    def __init__(self, loaded: LoadedModel, broken: Callable[[str], None]) -> None:
        self.loaded = loaded
        self.broken = broken
        self.failed: list[ShoalError] = []
        self.hurried = False
        self.closed = False

    def hurry(self) -> None:
        self.hurried = True

    def fail_waiting(self, error: ShoalError) -> None:
        self.failed.append(error)

    def close(self) -> None:
        assert not self.closed
        self.closed = True


class ManagerRig:
    """A manager over fakes. ``scripts`` says by model and version what happens ``LOAD_S`` into its load.

    ``kinds`` says which kind of model comes out of it.
    """

    def __init__(
        self,
        definitions: Sequence[ModelDefinition | tuple[str, LoadFailed]],
        observer: Observer | None = None,
        store: FakeStore | None = None,
        keep_warm_s: float = KEEP_WARM_S,
    ) -> None:
        self.threads = VirtualThreads(virtual_loop())
        self.source = FakeSource(*(item for item in definitions if isinstance(item, ModelDefinition)))
        self.source.models |= dict(item for item in definitions if isinstance(item, tuple))
        self.loader = FakeLoader(self._make)
        self.observer = RecordingObserver()
        self.scripts: dict[tuple[str, int], Callable[[], None]] = {}
        self.kinds: dict[tuple[str, int], Kind] = {}
        self.engines: list[Engine] = []
        self.store = store or FakeStore()
        self.resident = FakeResident()
        loop = virtual_loop()
        self.late_s = 0.0
        """How long whatever is to be loaded waits for a thread."""
        workers = FakeWorkers(self.threads, lambda: self.late_s)
        around = Surroundings(
            self.loader, self._engine, workers, observer or self.observer, VirtualClock(loop), self.resident, LIMIT_S
        )
        self.manager: Manager[Engine] = Manager(self.source, self.store, around, FakeWorkers(self.threads), keep_warm_s)

    async def start_empty(self) -> None:
        """Start with nothing in the source, which has its models again afterwards."""
        models, self.source.models = self.source.models, {}
        await self.manager.start()
        self.source.models = models

    def slot(self, version: str = "", model: str = "m") -> VersionSlot[Engine]:
        return self.manager.catalog.resolve(model, version)

    def states(self, model: str = "m") -> dict[int, str]:
        return {version: slot.state.value for version, slot in self.manager.catalog.models[model].versions.items()}

    def told(self) -> list[tuple[int, str]]:
        return [(event.version, event.state) for event in self.observer.of(VersionChanged)]

    def begin(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        return asyncio.get_running_loop().create_task(work)

    def pause(self, pause_s: float) -> Callable[[], None]:
        return lambda: void(self.threads.pause(pause_s))

    def slowly(self, pause_s: float, *, broken: bool = False) -> Callable[[], None]:
        """Return what takes so long on a thread, and may then say that a version is broken."""

        def script() -> None:
            if pause_s > 0:
                self.threads.pause(pause_s)
            if broken:
                raise LoadFailed("broken")

        return script

    def _make(self, wanted: ModelDefinition, version: int) -> FakeModel:
        self.threads.pause(LOAD_S)
        self.scripts.get((wanted.name, version), lambda: None)()
        return FakeModel(self.kinds.get((wanted.name, version), Kind.ROWS))

    def _engine(self, slot: VersionSlot[Engine], loaded: LoadedModel, broken: Callable[[str], None]) -> Engine:
        assert slot.state is VersionState.WARMING, "an engine is made before its version is ready"
        self.scripts.get(("engine", 0), lambda: None)()
        self.engines.append(Engine(loaded, broken))
        return self.engines[-1]


def failing(error: Exception) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


def run_manager(
    test: Callable[[ManagerRig], Coroutine[Any, Any, None]],
    *definitions: ModelDefinition | tuple[str, LoadFailed],
    observer: Observer | None = None,
    store: FakeStore | None = None,
    seed: int = 0,
) -> None:
    """Run a test; afterwards nothing is loaded that no hanging load holds, and each model was closed once."""

    async def main() -> None:
        rig = ManagerRig(definitions, observer, store)
        try:
            await test(rig)
            await rig.manager.close()
            assert all(model.closed for model in rig.loader.loaded)
            assert not any(model.violations for model in rig.loader.loaded)
            assert all(engine.closed for engine in rig.engines)
        finally:
            rig.threads.close()

    run_virtual(main(), seed)


def changed(wanted: ModelDefinition) -> ModelDefinition:
    """The same model, to be served in another way."""
    return replace(wanted, batching=replace(wanted.batching, delay_s=wanted.batching.delay_s + 0.001))
