"""The verdict over a simulation that has come to rest: who got what, and what is left."""

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from shoal_server.errors import DeadlineExceeded, ExecutionFailed, InternalError, Unavailable
from shoal_server.events import BatchEnded, ExecutionAbandoned
from shoal_testing.fake_model import FakeModel, Kind, Poison, decoded, number_of
from shoal_testing.scenario import BIAS
from shoal_testing.tracked import Tracked

if TYPE_CHECKING:
    from shoal_testing.simulation import Simulation


def judge(simulation: "Simulation") -> None:
    """Raise where anything is not as it must be."""
    core = simulation.core
    core.assert_at_rest()
    assert not core.executor.executions, core.executor.executions
    timers = core.loop.timers()
    assert not timers, f"timers are left: {timers}"
    for model in core.loader.loaded:
        assert not model.violations, model.violations
        assert model.closed, "a model was never closed"
        assert not model.obeys or not model.under_way, "a run was never interrupted"
    seen = {number for model in core.loader.loaded for number in model.seen}
    models = {model.serial: model for model in core.loader.loaded}
    for one in simulation.requests:
        _judge_request(simulation, one, seen, models)
    for batcher in core.batchers:
        admitted = [one for one in simulation.requests if one.batcher is batcher]
        success, fail = batcher.statistics.success.count, batcher.statistics.fail.count
        at_once = simulation.at_once.answered[batcher]
        assert success + fail == len(admitted) + at_once, f"{batcher}: {success} + {fail} are not {len(admitted)}"
        assert success <= sum(one.ticket.ok for one in admitted) + at_once
    _judge_traces(simulation)


def _judge_traces(simulation: "Simulation") -> None:
    """Each batch with traced members is told of once, and each of them is in one batch if it was dispatched."""
    told: Counter[int] = Counter()
    for event in simulation.core.events.of(BatchEnded):
        assert 0 < len(event.members) == len(event.arrived_s) <= event.requests, event
        assert all(at_s <= event.dispatched_s <= event.ended_s for at_s in event.arrived_s), event
        ran = [id(member) for run in event.runs for member in run.members]
        assert set(ran) <= set(map(id, event.members)), event
        assert len(set(ran)) == len(ran), f"a member was answered by two runs: {event}"
        told.update(map(id, event.members))
    for mark in simulation.marks.values():
        assert told[id(mark)] == mark.dispatched, f"a traced request is in {told[id(mark)]} batches"


def _judge_request(simulation: "Simulation", one: Tracked, seen: set[int], models: dict[int, FakeModel]) -> None:
    own = {number_of(cell) for cell in one.cells[:, 0]} if one.cells.size else set()
    own -= simulation.at_once.tried
    if simulation.askers[one.arrival.number] > 1:
        own = set()  # others asked for the same, so whether it was computed says nothing
    answers = one.sent.responder.answers
    if one.batcher is None:
        refusal = type(one.sent.refusal).__name__
        assert refusal == one.refusal_was_right, f"{one.arrival}: {one.sent.refusal!r}"
        assert not answers, f"{one.arrival} was refused and answered"
        assert not own & seen, f"{one.arrival} was refused and computed"
        return
    assert not one.refusal_was_right, f"{one.arrival} was to be refused: {one.refusal_was_right}"
    assert one.ticket.answered
    if one.submitted_s is None:
        assert not own & seen, f"{one.arrival} was computed though it left the line"
    if not answers:
        assert one.left_s is not None, f"{one.arrival} was never answered"
        return
    assert len(answers) == 1, f"{one.arrival} was answered {len(answers)} times"
    if one.left_s is not None:
        gap_s = simulation.scenario.answer_gap_s
        assert answers[0].at_s <= one.left_s + gap_s, f"{one.arrival} was answered after it left"
    if answers[0].error is None:
        _judge_success(simulation, one, models)
    else:
        _judge_error(simulation, one, answers[0].error, answers[0].at_s)


def _judge_success(simulation: "Simulation", one: Tracked, models: dict[int, FakeModel]) -> None:
    arrival, answer, batcher = one.arrival, one.sent.answer, one.batcher
    assert answer.outputs is not None
    assert batcher is not None
    assert answer.outputs.origin == batcher.origin, f"{arrival}: {answer.outputs.origin} is not {batcher.origin}"
    assert batcher.origin.model == arrival.model
    numbered = arrival.version.isdecimal()
    assert not numbered or batcher.origin.version == int(arrival.version), f"{arrival}: {batcher.origin}"
    kind = simulation.plans[arrival.model].kind
    assert kind is not Kind.LYING, f"{arrival}: an output of the wrong type was sent"
    y = answer.array()
    if kind is Kind.MIXING:
        assert not y[-1:].any()
        y = y[:-1]
    assert y.shape == one.cells.shape, f"{arrival}: {y.shape} for {one.cells.shape}"
    for index, cell in np.ndenumerate(y):
        source, serial = decoded(kind, cell)
        if arrival.bias:
            source = number_of(source) - BIAS
        assert source == one.cells[index], f"{arrival}: {source!r} in place of {one.cells[index]!r}"
        assert models[serial] is batcher.runner, f"{arrival}: computed by another version"
    if one.cells.size:
        assert arrival.poison in {None, Poison.SLOW}, f"{arrival}: poison made an answer"
    assert not arrival.breaks_encoder, f"{arrival}: the encoder that breaks did not"


def _judge_error(simulation: "Simulation", one: Tracked, error: Exception, at_s: float) -> None:
    arrival, batcher = one.arrival, one.batcher
    assert batcher is not None
    what = f"{arrival}: {error!r}"
    gap_s = simulation.scenario.answer_gap_s
    poison = arrival.poison if one.cells.size else None
    if isinstance(error, DeadlineExceeded):
        assert one.has_waited, what
        if "too close" in str(error):
            assert at_s < one.ticket.answer_by_s, f"{what} at {at_s}, {one.ticket!r}"
            least_s = min(stands.ticket.answer_by_s for stands in one.stands)
            assert least_s < at_s + one.least_s + 1e-9, f"{what} at {at_s}, {one.ticket!r}"
            return
        due_s = [
            max((place.ticket if place.flight is None else one.ticket).deadline_s, place.since_s)
            for place in one.stands
            if place.submitted_s is None
        ]
        assert any(abs(at_s - by_s) <= simulation.tolerance_s for by_s in due_s), f"{what} at {at_s}, {one.ticket!r}"
    elif isinstance(error, Unavailable):
        assert one.has_waited, what
        assert "in a row" in str(error), what
    elif isinstance(error, InternalError):
        assert poison is Poison.CRASH or arrival.breaks_encoder, what
    else:
        assert isinstance(error, ExecutionFailed), what
        if "did not finish" in str(error):
            limit_s = batcher.options.execution_limit_s
            hung = [
                stands
                for stands in one.stands
                if stands.submitted_s is not None
                and abs(at_s - stands.submitted_s - limit_s) <= simulation.tolerance_s + gap_s
            ]
            assert hung, what
            assert simulation.scenario.answer_gap_s or any(
                simulation.by_ticket[asking].arrival.poison in {Poison.HANG, Poison.SLOW}
                for stands in hung
                for member in simulation.batches[stands]
                for asking in member.askers
            ), what
            assert simulation.core.events.of(ExecutionAbandoned), what
        elif "own signature" in str(error):
            assert simulation.plans[arrival.model].kind is Kind.LYING, what
        else:
            assert (poison, str(error)) == (Poison.REFUSED, "poisoned"), what
