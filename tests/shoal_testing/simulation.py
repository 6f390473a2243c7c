"""Plays a scenario on the whole core and holds it against what must always be true.

While it runs, at every instant at which nothing more can happen: all that is admitted is accounted for, bounds hold, no
request waits beyond its deadline, and none waits while a slot is free and its batch could run. At the end: everyone was
answered exactly once with what is theirs, nobody who left the line was computed, and nothing is left.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, Final

import numpy as np

from shoal_server.batching.alarm import Alarm
from shoal_server.batching.batcher import Batcher
from shoal_server.batching.ticket import Ticket
from shoal_server.errors import (
    Conflict,
    InternalError,
    LoadFailed,
    NotFound,
    PreconditionFailed,
    ShoalError,
    Unavailable,
)
from shoal_server.events import VersionChanged
from shoal_server.lifecycle.catalog import ModelEntry
from shoal_server.lifecycle.definition import ModelDefinition, VersionPolicy
from shoal_server.lifecycle.desired import Desired
from shoal_server.lifecycle.progress import Result
from shoal_server.lifecycle.requests import Load, Request, Rollback, SetLabel, Swap, Unload
from shoal_server.lifecycle.states import VersionState
from shoal_server.options import BatchingOptions
from shoal_server.tensors.spec import Tensor
from shoal_testing.at_once import AtOnce, alike
from shoal_testing.core import Core, Sent
from shoal_testing.expected_refusal import answering, core_bounds, named, priority_of, reason_to_refuse
from shoal_testing.fake_executor import void
from shoal_testing.fake_model import FakeModel, Kind, Poison, Speed
from shoal_testing.fakes import FakeStore, definition, tensor
from shoal_testing.line import Lines, Standing
from shoal_testing.mark import Mark
from shoal_testing.naive_order import NaiveOrder
from shoal_testing.scattered import in_place
from shoal_testing.scenario import (
    BIAS,
    HORIZON_S,
    OPERATIONS,
    Arrival,
    Change,
    ModelPlan,
    Operation,
    Scenario,
    changed,
)
from shoal_testing.verdict import judge
from shoal_testing.virtual_threads import FOR_EVER
from shoal_testing.virtual_time import VirtualTimeLoop, run_virtual

SETTLED_S: Final = 600.0  # after the last event, everything must have come to rest
LOAD_LIMIT_S: Final = 10.0
TURN_S: Final = 20e-6
TRACED_SHARE: Final = 0.3


@dataclass(eq=False)
class Tracked:
    """A request as the simulation knows it."""

    arrival: Arrival
    sent: Sent
    cells: np.ndarray[Any, Any]
    """What it sends as ``x``."""
    batcher: Batcher | None = None
    stands: list[Standing] = field(default_factory=list)
    """Its ticket in the line, or what stands there for it."""
    left_s: float | None = None
    least_s: float = 0.0
    """What the model almost surely took for a full batch, by its own figures, when it was last about to be answered."""
    refusal_was_right: str = ""
    """Why it was rightly refused; empty where nothing speaks for it."""

    @property
    def ticket(self) -> Ticket:
        assert self.sent.admission is not None
        return self.sent.admission.ticket

    @property
    def submitted_s(self) -> float | None:
        """When it was dispatched first."""
        return next((one.submitted_s for one in self.stands if one.submitted_s is not None), None)

    @property
    def has_waited(self) -> bool:
        """Whether not all of it was dispatched."""
        parts = -(-self.ticket.rows // self.batcher.options.max_rows) if self.batcher and self.ticket.key else 1
        return len(self.stands) < parts or any(one.submitted_s is None for one in self.stands)


class Simulation:
    """One run of one scenario."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.random = Random(scenario.seed)
        self.plans = {plan.name: plan for plan in scenario.models}
        self._quick = Random(scenario.seed)
        self.at_once = AtOnce(self)
        tracing = Random(scenario.seed)
        self.marks = {id(one): Mark() for one in scenario.arrivals if tracing.random() < TRACED_SHARE}
        """The records of arrivals that are traced."""
        self.requests: list[Tracked] = []
        self.askers = Counter(one.number for one in scenario.arrivals)
        """How many ask for the same content."""
        self.by_ticket: dict[Ticket, Tracked] = {}
        self.lines = Lines(self._stood)
        self.batches: dict[Standing, Sequence[Standing]] = {}
        """The batch that each who was dispatched was in."""
        self.known: list[Tracked] = []
        """Those whose answers are known, until they are given."""
        self._unclaimed: list[Standing] = []
        """Those of the request that is just being offered."""
        self.orders: dict[Batcher, NaiveOrder[Ticket]] = {}
        self.store = FakeStore(required=scenario.state_required)
        self.unwritten = False
        """Whether anything could not be recorded so far and was done nevertheless."""
        self.outcomes: list[tuple[Operation, Result | ShoalError]] = []
        self.load_trouble: dict[str, Change] = {}
        self.operators: list[asyncio.Task[None]] = []
        self.closing = False
        self.events_seen = 0
        self.served: set[str] = set()
        """Models that serve and have no reason to stop."""
        self.tolerance_s = scenario.tick_s + (2 * TURN_S if scenario.tick_s else 1e-9)

    async def play(self) -> None:
        scenario = self.scenario
        self.core = core = Core(
            *(self.definition(plan) for plan in scenario.models),
            slots=scenario.slots,
            admission=scenario.admission,
            make=self._make,
            start_after_s=self._gap(scenario.start_gap_s),
            done_after_s=self._gap(scenario.done_gap_s),
            thread_after_s=self._gap(scenario.load_gap_s / 10),
            submitted=self._submitted,
            made=self.lines.watch,
            callers=scenario.callers,
            store=self.store,
            load_limit_s=LOAD_LIMIT_S,
            quick=lambda: self._quick.random() < scenario.quick_share,
            hangs=self._hangs,
        )
        self.store.before_write = lambda: void(core.threads.pause(self.random.random() * scenario.write_gap_s))
        core.loader.warm_up = self._warm_up  # type: ignore[method-assign,assignment]
        loop = core.loop
        try:
            await core.manager.start()
            self.served = set(self.plans)
            loop.before_jump.append(self.check_instant)
            began = loop.time()
            for instant in sorted({arrival.at_s for arrival in scenario.arrivals}):
                loop.call_at(began + instant, self._arrive, [one for one in scenario.arrivals if one.at_s == instant])
            for operation in scenario.operations:
                loop.call_at(began + operation.at_s, self._begin, operation)
            await asyncio.sleep(scenario.shutdown_at_s)
            self.closing = True
            core.gate.close()
            self.served.clear()
            await core.manager.close()
            timers = [timer for timer in loop.timers() if Alarm.__name__ in repr(timer)]
            assert not timers, f"timers of closed batchers: {timers}"
            await asyncio.sleep(max(began + 2 * HORIZON_S - loop.time(), 0.0) + SETTLED_S)
            judge(self)
            await self._dismiss_operators()
        finally:
            core.threads.close()

    @property
    def flying(self) -> list[Standing]:
        """Return those in batches under way."""
        return [self.lines.known[ticket] for one in self.core.executor.executions for ticket in one.work.tickets]

    def held(self) -> list[Tracked]:
        """Return the requests that are inside."""
        standing = [one for batcher in self.core.batchers for one in self.lines.of(batcher)] + self.flying
        tickets = dict.fromkeys(ticket for one in standing for ticket in one.askers)
        return [self.by_ticket[ticket] for ticket in tickets] + self.known

    def order(self, batcher: Batcher) -> NaiveOrder[Ticket]:
        """Return the naive reading of who goes first."""
        if batcher not in self.orders:
            self.orders[batcher] = NaiveOrder(batcher.options, self.scenario.fairness)
        return self.orders[batcher]

    def definition(self, plan: ModelPlan) -> ModelDefinition:
        wanted = definition(
            plan.name,
            *plan.versions,
            batching=plan.batching,
            policy=VersionPolicy(latest=plan.latest),
            answers=plan.answers,
        )
        return replace(wanted, runtime=replace(wanted.runtime, instances=plan.instances))

    def check_instant(self) -> None:
        """Hold what is true now against what must be."""
        core, now = self.core, self.core.loop.time()
        for event in core.events.events[self.events_seen :]:
            if isinstance(event, VersionChanged) and event.state == "draining" and event.reason:
                self.served.discard(event.model)
        self.events_seen = len(core.events.events)
        for model in self.served:
            assert answering(core.manager.catalog.models[model]), f"{model} was lost in a swap"
        for model, entry in core.manager.catalog.models.items():
            if core.manager.turns.running(model) is None:
                self._check_wanted(model, entry, now)
        held = self.held()
        leases = Counter(one.batcher for one in held)
        running = 0
        for batcher, slot in zip(core.batchers, core.versions, strict=True):
            line = self.lines.of(batcher)
            assert batcher.waiting == len(line), f"{batcher} and {len(line)} wait"
            assert slot.leases == leases[batcher], f"{slot}: lost a lease"
            assert batcher.running <= batcher.instances, f"{batcher}: more than its instances"
            running += batcher.running
            if line:
                self._check_line(batcher, line, now)
        figures = (len(held), sum(one.ticket.rows for one in held), sum(one.arrival.size_bytes for one in held))
        assert (core.gate.requests, core.gate.rows, core.gate.size_bytes) == figures, f"{core.gate}, held: {figures}"
        bounds = core_bounds(self.scenario)
        assert len(held) <= 1 or all(figure <= bound for figure, bound in zip(figures, bounds, strict=True)), core.gate
        assert core.slots.total - core.slots.free == running == len(core.executor.executions), core.slots

    def _check_wanted(self, model: str, entry: ModelEntry[Batcher], now: float) -> None:
        """Nobody changes the model now: what serves is wanted, and what is wanted is recorded."""
        recorded = self.store.desired.get(model, Desired())
        assert self.unwritten or recorded == entry.desired, f"{model}: {recorded} is recorded, {entry.desired} serves"
        for version, slot in entry.versions.items():
            wanted = entry.desired.versions is None or version in entry.desired.versions or slot is answering(entry)
            kept = slot.kept_until_s is not None and slot.kept_until_s > now - self.tolerance_s
            assert wanted or kept or slot.state is not VersionState.READY, f"{slot} serves and is wanted no more"

    def _check_line(self, batcher: Batcher, line: list[Standing], now: float) -> None:
        options = batcher.options
        bounded = [one.ticket for one in line if one.is_bounded]
        figures = (len(bounded), sum(one.rows for one in bounded), sum(one.size_bytes for one in bounded))
        bounds = (options.max_queued_requests, options.max_queued_rows, options.max_queued_bytes)
        assert len(bounded) <= 1 or all(figure <= bound for figure, bound in zip(figures, bounds, strict=True)), batcher
        for one in line:
            assert one.ticket.deadline_s > now - self.tolerance_s, f"{one} waits beyond its deadline"
            askers = [self.by_ticket[ticket] for ticket in one.askers]
            waited_for = any(asker.left_s is None or asker.sent.responder.answers for asker in askers)
            assert waited_for, f"{one} waits for nobody"
            if one.flight is not None and not one.late:
                overdue = [asker for asker in askers if asker.ticket.deadline_s <= now - self.tolerance_s]
                assert not overdue, f"{overdue} wait beyond their deadlines with {one}"
        if self.core.slots.free and batcher.running < batcher.instances:
            lanes: dict[object, int] = {}
            for one in line:
                lane = None if one.ticket.key is None else (one.ticket.key, one.ticket.bucket)
                lanes[lane] = lanes.get(lane, 0) + one.ticket.rows
            worthwhile = min((*options.preferred_rows, options.max_rows))
            ripe = None in lanes or max(lanes.values()) >= worthwhile
            assert not ripe, f"{batcher}: a batch is ready and a slot is free"
            until_s = line[0].ticket.arrived_s + options.delay_s
            assert until_s > now - self.tolerance_s, f"{batcher}: the delay is over and a slot is free"

    def _hangs(self, work: Any) -> bool:  # noqa: ANN401 - a BatchExecution
        """Whether a batch would keep the loop from everything else, as no quick one does."""
        askers = [self.by_ticket[asker] for ticket in work.tickets for asker in self.lines.known[ticket].askers]
        return any(one.arrival.poison in {Poison.HANG, Poison.SLOW} for one in askers)

    def _submitted(self, work: Any) -> None:  # noqa: ANN401 - a BatchExecution
        """Look at a batch at the moment in which it is dispatched."""
        batch = [self.lines.known[ticket] for ticket in work.tickets]
        assert batch, "an empty batch"
        first, now = batch[0], self.core.loop.time()
        line, options = self.lines.of(first.batcher, batch), first.batcher.options
        lanes = joined_lanes([one.ticket for one in line], [one.ticket for one in batch])
        assert all(one.batcher is first.batcher for one in batch), "a batch of two versions"
        assert len(batch) == 1 or first.ticket.key is not None, "what runs alone is in company"
        assert len(batch) == 1 or sum(one.ticket.rows for one in batch) <= options.max_rows, "a batch over max_rows"
        order = self.order(first.batcher)
        tickets = [one.ticket for one in batch]
        if tickets[0].key is None:
            lanes = [([tickets[0]], 1)]
        expected = [ticket for lane, members in lanes for ticket in order.order(lane, members)]
        assert tickets == expected, "a batch is the front of its lanes, without those who left or are late"
        if options.lengths is not None:
            self._check_padding(first.batcher, tickets)
        safe_s = safely_s(first.batcher, now, cost_of(options, tickets))
        assert all(one.ticket.answer_by_s >= now + safe_s - 1e-6 for one in batch), "members that will be late"
        assert all(one.ticket.deadline_s > now for one in batch), "late members are not computed"
        held_back = line[0].ticket.arrived_s + options.delay_s > now
        foremost = order.first([one.ticket for one in line])
        assert held_back or tickets[0] is foremost, "who goes first was passed over"
        order.serve(tickets)
        for one in batch:
            one.submitted_s = now
            self.batches[one] = batch

    def _check_padding(self, batcher: Batcher, tickets: Sequence[Ticket]) -> None:
        """A batch has no more cells than it may, and no more padding than pays, or than its half."""
        forecast = batcher.forecast
        own = sum(ticket.rows * ticket.bucket for ticket in tickets)
        cells = sum(ticket.rows for ticket in tickets) * max(ticket.bucket for ticket in tickets)
        assert len(tickets) == 1 or cells <= forecast.full_cost, f"{cells} cells where {forecast.full_cost} fit"
        assert cells - own <= min(own, forecast.spare_cost), f"{cells - own} cells of padding for {own}"

    def _arrive(self, arrivals: Sequence[Arrival]) -> None:
        for group in alike(arrivals):
            for arrival in self.at_once.offer(group):
                self._offer(arrival)
        self.core.service.flush()
        self.known.clear()

    def _offer(self, arrival: Arrival) -> None:
        core = self.core
        tensors, cells = self.tensors(arrival)
        reason, late = reason_to_refuse(self, arrival, cells)
        tracked: list[Tracked] = []
        sent = core.offer(
            tensors,
            arrival.model,
            arrival.version,
            size_bytes=arrival.size_bytes,
            within_s=arrival.within_s,
            timeout_s=arrival.timeout_s,
            priority=arrival.priority,
            caller=arrival.caller,
            trace=self.marks.get(id(arrival)),
            before=lambda: self._before_answer(tracked[0]),
            encode=self._break_encoder if arrival.breaks_encoder else lambda: None,
        )
        joins = sent.admission is not None and not self._unclaimed  # so the line has no say in it
        one = Tracked(arrival, sent, cells, refusal_was_right=reason or ("" if joins else late))
        tracked.append(one)
        self.requests.append(one)
        if sent.admission is None:
            return
        one.batcher = sent.admission.batcher
        told = (one.ticket.priority, one.ticket.caller)
        assert told == (priority_of(arrival, one.batcher.options), arrival.caller), one.ticket
        entry = core.manager.catalog.models[arrival.model]
        assert one.batcher.origin.version == named(entry, arrival.version), f"{arrival}: {one.batcher} took it"
        self.by_ticket[one.ticket] = one
        one.stands += self._unclaimed
        self._unclaimed.clear()
        if joins:
            one.stands += [other for other in self.lines.known.values() if one.ticket in other.askers]
            self.known += [] if one.stands else [one]
        if arrival.cancel_after_s == 0.0:
            self._leave(one)
        elif arrival.cancel_after_s is not None:
            core.loop.call_later(arrival.cancel_after_s, self._leave, one)

    def _stood(self, one: Standing) -> None:
        """Somebody came into a line."""
        one.since_s = self.core.loop.time()
        self.order(one.batcher).arrive(one.ticket, [other.ticket for other in self.lines.of(one.batcher)])
        for ticket in one.askers:
            if ticket in self.by_ticket:
                one.late = True
                self.by_ticket[ticket].stands.append(one)
            else:
                self._unclaimed.append(one)

    def tensors(self, arrival: Arrival) -> tuple[list[Tensor], np.ndarray[Any, Any]]:
        """Return what a request sends, and the cells of its input ``x``."""
        first = arrival.number * 1000 + np.arange(arrival.rows)
        cells: np.ndarray[Any, Any] = np.repeat(first[:, None], arrival.width, axis=1).astype(np.int64)
        plan = self.plans.get(arrival.model)
        if plan is not None and plan.kind is Kind.TEXT:
            texts = np.empty(cells.shape, object)
            for index, number in np.ndenumerate(cells):
                texts[index] = f"{number}|{'é' * (int(number) % 3)}"
            cells = texts
        tensors = [tensor("x", cells)]
        if arrival.bias:
            tensors.append(tensor("bias", np.array([BIAS], np.int64)))
        if arrival.malformed:
            wrong = tensors[0]
            tensors[0] = self.random.choice(
                [
                    wrong._replace(data=in_place(wrong.data) + b"\0"),
                    wrong._replace(datatype="FP64"),
                    wrong._replace(shape=(*wrong.shape, 2)),
                    wrong._replace(name="y"),
                ]
            )
        return tensors, cells

    def _before_answer(self, one: Tracked) -> None:
        if one.batcher is not None and one.has_waited:
            # Whoever is too late for a batch is too late for the largest.
            forecast, own = one.batcher.forecast, cost_of(one.batcher.options, [one.ticket])
            full = max(own, forecast.full_cost if one.ticket.key is not None or own != one.ticket.rows else 0)
            one.least_s = safely_s(one.batcher, self.core.loop.time(), full)
        if self.scenario.answer_gap_s:
            self.core.threads.pause(self.random.random() * self.scenario.answer_gap_s)

    def _break_encoder(self) -> None:
        raise ValueError("cannot be encoded")

    def _leave(self, one: Tracked) -> None:
        one.left_s = self.core.loop.time()
        one.sent.cancel()

    def _make(self, core: Core, wanted: ModelDefinition, _version: int) -> FakeModel:
        core.threads.pause(self.random.random() * self.scenario.load_gap_s)
        trouble = self.load_trouble.get(wanted.name) if self.random.random() < 0.5 else None
        self._strike(trouble)
        plan = self.plans[wanted.name]
        poisons = {one.number * 1000: one.poison for one in self.scenario.arrivals if one.poison is not None}
        return FakeModel(
            plan.kind,
            threads=core.threads,
            speed=Speed(plan.run_s, plan.row_s, iter(lambda: 0.5 + self.random.random(), None)),
            poisons=poisons,
            slow_s=self.scenario.slow_s,
            obeys=plan.obeys,
            lengths=plan.batching.lengths,
            timings=[(cells, plan.run_s + plan.row_s * cells) for cells in (8, 16, 32, 64)]
            if plan.kind is Kind.LENGTHS
            else (),
        )

    def _warm_up(self, wanted: ModelDefinition, _version: int) -> None:
        self.core.threads.pause(self.random.random() * self.scenario.load_gap_s)
        self._strike(self.load_trouble.get(wanted.name))

    def _strike(self, trouble: Change | None) -> None:
        if trouble is Change.SPOIL:
            raise LoadFailed("spoilt")
        if trouble is Change.CRASH:
            raise ZeroDivisionError("an odd file")
        if trouble is Change.STALL:
            self.core.threads.pause(FOR_EVER)

    def _begin(self, operation: Operation) -> None:
        task = self.core.loop.create_task(self._operate(operation))
        self.operators.append(task)
        if operation.cancel_after_s is not None:
            self.core.loop.call_later(operation.cancel_after_s, task.cancel)

    async def _operate(self, operation: Operation) -> None:
        name, manager = operation.model, self.core.manager
        if operation.change in OPERATIONS:
            await self._operate_version(operation)
            return
        if operation.change in {Change.FILL_DISK, Change.EMPTY_DISK}:
            self.store.trouble = "the disk is full" if operation.change is Change.FILL_DISK else ""
            self.store.trouble_comes_late = operation.force
            self.unwritten = self.unwritten or (bool(self.store.trouble) and not self.store.required)
            return
        if operation.change is Change.UNLOAD:
            self.served.discard(name)
        described = self.core.source.models[name]
        assert isinstance(described, ModelDefinition)
        if operation.change is Change.TOUCH:
            for model in self.core.loader.loaded:
                model.current = False
        elif operation.change in {Change.SPOIL, Change.CRASH, Change.STALL, Change.MEND}:
            self.load_trouble[name] = operation.change
        else:
            self.core.source.models[name] = changed(described, operation.change)
        work: Coroutine[Any, Any, None] = (
            manager.unload(name) if operation.change is Change.UNLOAD else manager.load(name)
        )
        try:
            await work
        except (LoadFailed, NotFound, PreconditionFailed):
            return
        except Unavailable:
            assert self.closing, "changes are refused only by a server that ends"

    async def _operate_version(self, operation: Operation) -> None:
        """Do an operation on one version; one that fails has changed nothing, one that succeeds what it says."""
        manager, name = self.core.manager, operation.model
        try:
            begun = manager.operations.begin(request_of(operation))
        except (Conflict, Unavailable):
            return
        before = manager.catalog.models[name]
        answered = answering(before)
        if operation.force:
            self.served.discard(name)
        try:
            outcome: Result | ShoalError = await begun.result()
        except ShoalError as error:
            outcome = error
        self.outcomes.append((operation, outcome))
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

    async def _dismiss_operators(self) -> None:
        """Nothing may be left: loads that stall have been given up."""
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        assert not left, f"left behind: {left}"
        for operator in self.operators:
            if not operator.cancelled():
                operator.result()

    def _gap(self, bound_s: float) -> Callable[[], float]:
        return lambda: self.random.random() * bound_s


def safely_s(batcher: Batcher, now: float, cost: int) -> float:
    """Return within what time a batch almost surely ends, by the model's figures."""
    forecast, model = batcher.forecast, batcher.forecast.cost
    known = now < forecast.trusted_until_s
    padded = cost if batcher.options.lengths is not None else batcher.options.padded(cost)
    return model.predict_s(padded) + 2 * model.deviation_s if known else 0.0


def cost_of(options: BatchingOptions, tickets: Sequence[Ticket]) -> int:
    """Return rows, or where lengths vary, rows times the longest."""
    rows = sum(ticket.rows for ticket in tickets)
    return rows if options.lengths is None else options.padded(rows) * max(ticket.bucket for ticket in tickets)


def joined_lanes(line: Sequence[Ticket], batch: Sequence[Ticket]) -> list[tuple[list[Ticket], int]]:
    """Return for each lane that the batch took from, in that order, who waits in it, and how many were taken."""
    buckets = Counter(ticket.bucket for ticket in batch)
    key = batch[0].key
    waiting = {one.bucket for one in line if one.key == key}
    between = {bucket for bucket in waiting if min(buckets) < bucket < max(buckets)}
    assert between <= set(buckets), "a length between two others was passed over"
    return [
        ([one for one in line if one.key == key and one.bucket == bucket], members)
        for bucket, members in buckets.items()
    ]


def request_of(operation: Operation) -> Request:
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


def simulate(scenario: Scenario) -> Simulation:
    """Play a scenario; whatever is wrong is raised, with the seed as a note."""
    loop = VirtualTimeLoop(tick_s=scenario.tick_s, turn_s=TURN_S if scenario.tick_s else 0.0)
    simulation = Simulation(scenario)
    run_virtual(simulation.play(), scenario.seed, loop=loop)
    return simulation
