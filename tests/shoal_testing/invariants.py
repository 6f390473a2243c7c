"""What must be true of a simulation at every instant at which nothing more can happen."""

from collections import Counter
from typing import TYPE_CHECKING, Final

from shoal_server.batching.batcher import Batcher
from shoal_server.batching.outcome import Outcome
from shoal_server.events import VersionChanged
from shoal_server.lifecycle.catalog import ModelEntry
from shoal_server.lifecycle.desired import Desired
from shoal_server.lifecycle.states import VersionState
from shoal_testing.expected_refusal import answering, core_bounds
from shoal_testing.line import Standing

if TYPE_CHECKING:
    from shoal_testing.simulation import Simulation

_LEFT: Final = {Outcome.CANCELLED, Outcome.DEADLINE}


class Invariants:
    """``check`` is to be called whenever time is about to pass."""

    def __init__(self, simulation: "Simulation") -> None:
        self._simulation = simulation
        self._events_seen = 0

    def check(self) -> None:
        """Hold what is true now against what must be."""
        simulation = self._simulation
        core, now = simulation.core, simulation.core.loop.time()
        for event in core.events.events[self._events_seen :]:
            if isinstance(event, VersionChanged) and event.state == "draining" and event.reason:
                simulation.served.discard(event.model)
        self._events_seen = len(core.events.events)
        for model in simulation.served:
            assert answering(core.manager.catalog.models[model]), f"{model} was lost in a swap"
        for model, entry in core.manager.catalog.models.items():
            if core.manager.turns.running(model) is None:
                self._check_wanted(model, entry, now)
        held = simulation.held()
        leases = Counter(one.batcher for one in held)
        running = 0
        for batcher, slot in zip(core.batchers, core.versions, strict=True):
            line = simulation.lines.of(batcher)
            assert batcher.waiting == len(line), f"{batcher} and {len(line)} wait"
            assert slot.leases == leases[batcher], f"{slot}: lost a lease"
            assert batcher.running <= batcher.instances, f"{batcher}: more than its instances"
            running += batcher.running
            if line:
                self._check_line(batcher, line, now)
        figures = (len(held), sum(one.ticket.rows for one in held), sum(one.arrival.size_bytes for one in held))
        assert (core.gate.requests, core.gate.rows, core.gate.size_bytes) == figures, f"{core.gate}, held: {figures}"
        bounds = core_bounds(simulation.scenario)
        assert len(held) <= 1 or all(figure <= bound for figure, bound in zip(figures, bounds, strict=True)), core.gate
        assert core.slots.total - core.slots.free == running == len(core.executor.executions), core.slots

    def _check_wanted(self, model: str, entry: ModelEntry[Batcher], now: float) -> None:
        """Nobody changes the model now: what serves is wanted, and what is wanted is recorded."""
        simulation = self._simulation
        recorded = simulation.store.desired.get(model, Desired())
        assert simulation.operators.unwritten or recorded == entry.desired, (
            f"{model}: {recorded} is recorded, {entry.desired} serves"
        )
        for version, slot in entry.versions.items():
            wanted = entry.desired.versions is None or version in entry.desired.versions or slot is answering(entry)
            kept = slot.kept_until_s is not None and slot.kept_until_s > now - simulation.tolerance_s
            assert wanted or kept or slot.state is not VersionState.READY, f"{slot} serves and is wanted no more"

    def _check_line(self, batcher: Batcher, line: list[Standing], now: float) -> None:
        simulation, options = self._simulation, batcher.options
        bounded = [one.ticket for one in line if one.is_bounded]
        figures = (len(bounded), sum(one.rows for one in bounded), sum(one.size_bytes for one in bounded))
        bounds = (options.max_queued_requests, options.max_queued_rows, options.max_queued_bytes)
        assert len(bounded) <= 1 or all(figure <= bound for figure, bound in zip(figures, bounds, strict=True)), batcher
        for one in line:
            assert one.ticket.deadline_s > now - simulation.tolerance_s, f"{one} waits beyond its deadline"
            askers = [simulation.by_ticket[ticket] for ticket in one.askers]
            # Who leaves while a thread answers him has not left: the end of that batch takes what waits of him along.
            waited_for = any(asker.left_s is None or asker.ticket.outcome not in _LEFT for asker in askers)
            assert waited_for, f"{one} waits for nobody"
            if one.flight is not None and not one.late:
                overdue = [asker for asker in askers if asker.ticket.deadline_s <= now - simulation.tolerance_s]
                assert not overdue, f"{overdue} wait beyond their deadlines with {one}"
        if simulation.core.slots.free and batcher.running < batcher.instances:
            lanes: dict[object, int] = {}
            for one in line:
                lane = None if one.ticket.key is None else (one.ticket.key, one.ticket.bucket)
                lanes[lane] = lanes.get(lane, 0) + one.ticket.rows
            worthwhile = min((*options.preferred_rows, options.max_rows))
            ripe = None in lanes or max(lanes.values()) >= worthwhile
            assert not ripe, f"{batcher}: a batch is ready and a slot is free"
            until_s = line[0].ticket.arrived_s + options.delay_s
            assert until_s > now - simulation.tolerance_s, f"{batcher}: the delay is over and a slot is free"
