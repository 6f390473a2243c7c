"""For what reason the core should refuse a request of the simulation now, if for any."""

from math import inf
from typing import TYPE_CHECKING, Any

import numpy as np

from shoal_server.batching.batcher import Batcher
from shoal_server.batching.ticket import Ticket
from shoal_server.lifecycle.catalog import ModelEntry
from shoal_server.lifecycle.slot import VersionSlot
from shoal_server.lifecycle.states import VersionState
from shoal_server.options import BatchingOptions
from shoal_testing.fake_model import Kind
from shoal_testing.scenario import Arrival, Scenario

if TYPE_CHECKING:
    from shoal_testing.simulation import Simulation

Figures = tuple[int, int, int]
"""Requests, rows and bytes."""


def reason_to_refuse(simulation: "Simulation", arrival: Arrival, cells: np.ndarray[Any, Any]) -> tuple[str, str]:
    """Return the names of errors that would be right now, or nothing: at the server's door, and at the line's."""
    at_the_door = _at_the_door(simulation, arrival, cells)
    if at_the_door:
        return at_the_door, ""
    batcher, rows = _asked(simulation, arrival, cells)
    if _full(simulation, batcher, arrival, rows):
        return "", "Overloaded"
    return "", _late(simulation, batcher, arrival, (rows, cells.shape[1]))


def _asked(simulation: "Simulation", arrival: Arrival, cells: np.ndarray[Any, Any]) -> tuple[Batcher, int]:
    entry = simulation.core.manager.catalog.models[arrival.model]
    version = named(entry, arrival.version)
    assert version is not None, "it passed the door"
    rows = 1 if simulation.plans[arrival.model].kind is Kind.WHOLE else max(cells.shape[0], int(arrival.bias))
    return entry.versions[version].serving(), rows


def _at_the_door(simulation: "Simulation", arrival: Arrival, cells: np.ndarray[Any, Any]) -> str:
    entry = simulation.core.manager.catalog.models.get(arrival.model)
    version = named(entry, arrival.version) if entry is not None else None
    if entry is None or version is None or (arrival.version.isdecimal() and version not in entry.versions):
        return "NotFound"
    slot = entry.versions.get(version)
    if slot is None or slot.engine is None or slot.state.value != "ready":
        return "Unavailable"
    options, plan = slot.engine.options, simulation.plans[arrival.model]
    rows = 1 if plan.kind is Kind.WHOLE else max(cells.shape[0], int(arrival.bias))
    longest = options.lengths.max_length if options.lengths else 0
    too_long = bool(longest and cells.shape[1] > longest)
    if arrival.malformed or too_long or (options.rows_limit and rows > options.rows_limit):
        return "InvalidRequest"
    if arrival.within_s == 0.0:
        return "DeadlineExceeded"
    if simulation.closing:
        return "Unavailable"
    gate, more = simulation.core.gate, (1, rows, arrival.size_bytes)
    inside = (gate.requests, gate.rows, gate.size_bytes)
    crowded = bool(inside[0]) and exceeds(inside, more, core_bounds(simulation.scenario))
    return "Overloaded" if crowded or _over_quota(simulation, arrival, more) else ""


def _full(simulation: "Simulation", batcher: Batcher, arrival: Arrival, rows: int) -> bool:
    """Whether a bound of the model's line is reached, or the caller's share of it."""
    options, line = batcher.options, simulation.lines.of(batcher)
    more = (1, rows, arrival.size_bytes)
    if in_parts(simulation, batcher, arrival, rows) > 1:  # the first of them is what asks
        first = options.max_rows
        more = (1, first, arrival.size_bytes * first // rows)
    waiting = _figures([one.ticket for one in line])
    bounds = (options.max_queued_requests, options.max_queued_rows, options.max_queued_bytes)
    if line and exceeds(waiting, more, bounds):
        return True
    own = [one.ticket for one in line if one.ticket.caller == arrival.caller]
    free = (bounds[0] - waiting[0], bounds[1] - waiting[1], bounds[2] - waiting[2])
    return simulation.scenario.fairness is not None and bool(own) and exceeds(_figures(own), more, free)


def _over_quota(simulation: "Simulation", arrival: Arrival, more: Figures) -> bool:
    """Whether the caller has all that he may have, or as much as he leaves free."""
    callers, gate = simulation.scenario.callers, simulation.core.gate
    if callers is None:
        return False
    own = _figures([one.ticket for one in simulation.held() if one.arrival.caller == arrival.caller])
    bounds = core_bounds(simulation.scenario)
    free = (bounds[0] - gate.requests, bounds[1] - gate.rows, bounds[2] - gate.size_bytes)
    concurrency = callers.quotas.get(arrival.caller, callers.quota).concurrency
    return bool(concurrency and own[0] >= concurrency) or bool(own[0] and exceeds(own, more, free))


def _late(simulation: "Simulation", batcher: Batcher, arrival: Arrival, shape: tuple[int, int]) -> str:
    """Return the name of the error where the model's own figures say that the answer would come too late."""
    now, forecast, options = simulation.core.loop.time(), batcher.forecast, batcher.options
    left_s = inf if arrival.within_s is None else arrival.within_s
    if arrival.timeout_s is not None:
        may_wait_s = min(arrival.timeout_s, options.max_timeout_s)
    else:
        may_wait_s = options.queue_limit_s or (options.default_timeout_s if arrival.within_s is None else inf)
    if now >= forecast.trusted_until_s:
        return ""
    may_wait_s = min(may_wait_s, left_s)
    rows, length = shape
    parts = in_parts(simulation, batcher, arrival, rows)
    rows = options.max_rows if parts > 1 else rows
    lengths = options.lengths
    if lengths is None:
        cost, padded = rows, options.padded(rows)
    else:
        padded = cost = options.padded(rows) * (
            next((edge for edge in lengths.edges if edge >= length > 0), length) or 1
        )
    if parts > 1:
        rest_s = (parts - 1) // min(batcher.instances, simulation.core.slots.total) * forecast.execution_s(cost)
        left_s = max(left_s - rest_s, 0.0)
    if forecast.cost.predict_s(padded) > left_s:
        return "DeadlineExceeded"
    name = arrival.caller if simulation.scenario.fairness is not None else ""
    ahead = simulation.order(batcher).rows_ahead(
        [one.ticket for one in simulation.lines.of(batcher)],
        name,
        priority_of(arrival, options),
    )
    if lengths is not None:
        line = [one.ticket for one in simulation.lines.of(batcher)]
        cells = sum(ticket.rows * ticket.bucket for ticket in line)
        ahead = ahead * cells // max(sum(ticket.rows for ticket in line), 1)
    wait_s = forecast.wait_s(now, cost, ahead)
    late_s = wait_s + forecast.batch_s(cost, ahead) + forecast.doubt_s(wait_s)
    late = late_s > left_s + 1e-9 or wait_s > min(may_wait_s, left_s) + 1e-9
    return "Overloaded" if wait_s and late else ""


def in_parts(simulation: "Simulation", batcher: Batcher, arrival: Arrival, rows: int) -> int:
    """Return in how many parts the request is computed."""
    kind = simulation.plans[arrival.model].kind
    empty = kind is Kind.LENGTHS and not arrival.width
    divisible = batcher.batches and kind is not Kind.WHOLE and not arrival.bias and not empty
    return -(-rows // batcher.options.max_rows) if divisible else 1


def priority_of(arrival: Arrival, options: BatchingOptions) -> int:
    """Return the level that the request has: its own if the model has that, else the model's default."""
    named = 1 <= arrival.priority <= options.priority_levels
    return arrival.priority if named else options.default_priority


def _figures(tickets: list[Ticket]) -> Figures:
    return len(tickets), sum(one.rows for one in tickets), sum(one.size_bytes for one in tickets)


def core_bounds(scenario: Scenario) -> Figures:
    """Return the gate's bounds in requests, rows and bytes."""
    admission = scenario.admission
    return admission.max_requests, admission.max_rows, admission.max_bytes


def exceeds(now: Figures, more: Figures, bounds: Figures) -> bool:
    """Whether one more request would exceed a bound."""
    return any(held + added > bound for held, added, bound in zip(now, more, bounds, strict=True))


def answering(entry: ModelEntry[Batcher]) -> VersionSlot[Batcher] | None:
    """Return what calls without a version are to reach, by the words of the documentation."""
    ready = {version: slot for version, slot in entry.versions.items() if slot.state is VersionState.READY}
    if entry.desired.current is None:
        return ready.get(max(ready, default=0))
    if entry.desired.current == 0:
        return None
    return ready.get(entry.desired.current) or ready.get(entry.stand_in or 0)


def named(entry: ModelEntry[Batcher], version: str) -> int | None:
    """Return the version that a request's version stands for: -1 where nothing answers, None where it is unknown."""
    slot = answering(entry)
    if version in {"", "stable"}:
        return slot.version if slot is not None else -1
    if version == "previous":
        return entry.desired.previous
    return int(version) if version.isdecimal() else entry.desired.labels.get(version)
