"""What the lifecycle works with."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol

from shoal_server.clock import Clock
from shoal_server.events import Observer
from shoal_server.lifecycle.ports import LoadedModel, Loader, Resident, Workers
from shoal_server.lifecycle.slot import G, VersionSlot


class EngineFactory(Protocol[G]):
    """Makes what serves a loaded version. ``broken`` is to be called when the engine can serve no more."""

    def __call__(self, slot: VersionSlot[G], loaded: LoadedModel, broken: Callable[[str], None]) -> G:
        """Return an engine that is ready to serve."""
        ...


@dataclass(frozen=True, slots=True)
class Surroundings(Generic[G]):
    """What the lifecycle works with: its ports, and ``load_limit_s``, after which a load is given up."""

    loader: Loader
    engine: EngineFactory[G]
    workers: Workers
    observer: Observer
    clock: Clock
    resident: Resident
    load_limit_s: float = 600.0
