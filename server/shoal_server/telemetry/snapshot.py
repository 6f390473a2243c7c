"""All that is measured, copied on the loop at a reader's wish and turned into figures elsewhere."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import Final

from shoal_server.admission.gate import Gate, GateStatistics
from shoal_server.batching.batcher import Batcher
from shoal_server.batching.ledger import Ledger, VersionMeasured
from shoal_server.clock import Clock
from shoal_server.errors import Bound
from shoal_server.lifecycle.slot import VersionSlot
from shoal_server.lifecycle.states import VersionState
from shoal_server.telemetry.operations import OperationCounts, OperationsMeasured
from shoal_server.transport.port import MethodStatistics

_VERSIONS_PER_TURN: Final = 32  # about half a millisecond of the loop's time


@dataclass(frozen=True, slots=True)
class VersionNow:
    """Where a version stands now: its state, and requests in its line and batches that run."""

    model: str
    version: int
    state: VersionState
    waiting: int
    running: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What was counted since ``since_epoch_s``, when the server was made, and what is under way.

    ``lag_s`` is how long the loop let the request for this snapshot wait.
    """

    taken_epoch_s: float
    since_epoch_s: float
    methods: Sequence[MethodStatistics]
    inside: GateStatistics
    refusals: Mapping[Bound, int]
    refused_draining: int
    refused_unread: int
    measured: Sequence[VersionMeasured]
    versions: Sequence[VersionNow]
    operations: OperationsMeasured
    lag_s: float


@dataclass(frozen=True, slots=True)
class Sources:
    """Where figures come from; all but ``methods`` and ``unread`` on the loop."""

    methods: Callable[[], Iterable[MethodStatistics]]
    unread: Callable[[], int]
    gate: Gate
    ledger: Ledger
    slots: Callable[[], Iterable[VersionSlot[Batcher]]]
    operations: OperationCounts


class Snapshots:
    """Takes snapshots for readers on other threads. Made on the loop."""

    def __init__(self, sources: Sources, clock: Clock) -> None:
        self._sources = sources
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._since_epoch_s = clock.epoch()

    def take(self, within_s: float) -> Snapshot | None:
        """Return a snapshot, None where the loop is too busy for it or is gone; never from the loop itself."""
        taking = self._take(self._clock.monotonic())
        try:
            future = asyncio.run_coroutine_threadsafe(taking, self._loop)
        except RuntimeError:  # the loop is closed
            taking.close()
            return None
        try:
            return future.result(within_s)
        except (TimeoutError, CancelledError):
            future.cancel()
            return None

    async def _take(self, asked_s: float) -> Snapshot:
        lag_s = self._clock.monotonic() - asked_s
        sources = self._sources
        measured: list[VersionMeasured] = []
        for one in sources.ledger.read():
            measured.append(one)
            if len(measured) % _VERSIONS_PER_TURN == 0:
                await asyncio.sleep(0)
        return Snapshot(
            self._clock.epoch(),
            self._since_epoch_s,
            list(sources.methods()),
            sources.gate.statistics(),
            dict(sources.gate.refusals),
            sources.gate.refused_draining,
            sources.unread(),
            measured,
            [_now(slot) for slot in sources.slots()],
            sources.operations.read(),
            lag_s,
        )


def _now(slot: VersionSlot[Batcher]) -> VersionNow:
    engine = slot.engine
    waiting, running = (engine.waiting, engine.running) if engine is not None else (0, 0)
    return VersionNow(slot.model, slot.version, slot.state, waiting, running)
