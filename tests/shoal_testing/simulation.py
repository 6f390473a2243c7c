"""Plays a scenario on the whole core and holds it against what must always be true.

While it runs (``invariants``), whenever nothing more can happen: all that is admitted is accounted for,
bounds hold, no request waits beyond its deadline, and none waits while a slot is free and its batch could run. At the
end (``verdict``): everyone was answered exactly once with what is theirs, nobody who left the line was computed, and
nothing is left.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random
from typing import Any, Final

import numpy as np

from shoal_server.batching.alarm import Alarm
from shoal_server.batching.batcher import Batcher
from shoal_server.batching.ticket import Ticket
from shoal_server.errors import LoadFailed
from shoal_server.lifecycle.definition import ModelDefinition, VersionPolicy
from shoal_server.tensors.spec import Tensor
from shoal_testing.at_once import AtOnce, alike
from shoal_testing.core import Core
from shoal_testing.dispatched_batch import check_dispatch, cost_of, safely_s
from shoal_testing.expected_refusal import named, priority_of, reason_to_refuse
from shoal_testing.fake_executor import void
from shoal_testing.fake_model import FakeModel, Kind, Poison, Speed
from shoal_testing.fakes import FakeStore, definition, tensor
from shoal_testing.invariants import Invariants
from shoal_testing.line import Lines, Standing
from shoal_testing.mark import Mark
from shoal_testing.naive_order import NaiveOrder
from shoal_testing.operators import Operators
from shoal_testing.scattered import in_place
from shoal_testing.scenario import BIAS, HORIZON_S, Arrival, Change, ModelPlan, Scenario
from shoal_testing.tracked import Tracked
from shoal_testing.verdict import judge
from shoal_testing.virtual_threads import FOR_EVER
from shoal_testing.virtual_time import VirtualTimeLoop, run_virtual

SETTLED_S: Final = 600.0  # after the last event, everything must have come to rest
LOAD_LIMIT_S: Final = 10.0
TURN_S: Final = 20e-6
TRACED_SHARE: Final = 0.3


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
        self.leaving: Counter[Batcher] = Counter()
        self.dispatched: deque[Batcher] = deque(maxlen=256)
        """Batches in a row that left somebody waiting."""
        self.known: list[Tracked] = []
        """Those whose answers are known, until they are given."""
        self._unclaimed: list[Standing] = []
        """Those of the request that is just being offered."""
        self.orders: dict[Batcher, NaiveOrder[Ticket]] = {}
        self.store = FakeStore(required=scenario.state_required)
        self.operators = Operators(self)
        self.closing = False
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
            submitted=lambda work: check_dispatch(self, work),
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
            loop.before_jump.append(Invariants(self).check)
            began = loop.time()
            for instant in sorted({arrival.at_s for arrival in scenario.arrivals}):
                loop.call_at(began + instant, self._arrive, [one for one in scenario.arrivals if one.at_s == instant])
            for operation in scenario.operations:
                loop.call_at(began + operation.at_s, self.operators.begin, operation)
            await asyncio.sleep(scenario.shutdown_at_s)
            self.closing = True
            core.gate.close()
            self.served.clear()
            await core.manager.close()
            timers = [timer for timer in loop.timers() if Alarm.__name__ in repr(timer)]
            assert not timers, f"timers of closed batchers: {timers}"
            await asyncio.sleep(max(began + 2 * HORIZON_S - loop.time(), 0.0) + SETTLED_S)
            judge(self)
            self.operators.dismiss()
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

    def _hangs(self, work: Any) -> bool:  # noqa: ANN401 - a BatchExecution
        """Whether a batch would keep the loop from everything else, as no quick one does."""
        askers = [self.by_ticket[asker] for ticket in work.tickets for asker in self.lines.known[ticket].askers]
        return any(one.arrival.poison in {Poison.HANG, Poison.SLOW} for one in askers)

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
        trouble = self.operators.load_trouble.get(wanted.name) if self.random.random() < 0.5 else None
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
        self._strike(self.operators.load_trouble.get(wanted.name))

    def _strike(self, trouble: Change | None) -> None:
        if trouble is Change.SPOIL:
            raise LoadFailed("spoilt")
        if trouble is Change.CRASH:
            raise ZeroDivisionError("an odd file")
        if trouble is Change.STALL:
            self.core.threads.pause(FOR_EVER)

    def _gap(self, bound_s: float) -> Callable[[], float]:
        return lambda: self.random.random() * bound_s


def simulate(scenario: Scenario) -> Simulation:
    """Play a scenario; whatever is wrong is raised, with the seed as a note."""
    loop = VirtualTimeLoop(tick_s=scenario.tick_s, turn_s=TURN_S if scenario.tick_s else 0.0)
    simulation = Simulation(scenario)
    run_virtual(simulation.play(), scenario.seed, loop=loop)
    return simulation
