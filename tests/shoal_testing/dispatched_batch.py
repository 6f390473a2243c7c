"""A batch of a simulation at the moment in which it is dispatched: what must be true of it."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from shoal_server.batching.batcher import Batcher
from shoal_server.batching.ticket import Ticket
from shoal_server.options import BatchingOptions

if TYPE_CHECKING:
    from shoal_testing.simulation import Simulation


def check_dispatch(simulation: "Simulation", work: Any) -> None:  # noqa: ANN401 - a BatchExecution
    """Look at a batch at the moment in which it is dispatched."""
    batch = [simulation.lines.known[ticket] for ticket in work.tickets]
    assert batch, "an empty batch"
    first, now = batch[0], simulation.core.loop.time()
    line, options = simulation.lines.of(first.batcher, batch), first.batcher.options
    lanes = _joined_lanes([one.ticket for one in line], [one.ticket for one in batch])
    assert all(one.batcher is first.batcher for one in batch), "a batch of two versions"
    assert len(batch) == 1 or first.ticket.key is not None, "what runs alone is in company"
    shared = any(batcher is not first.batcher for batcher in simulation.dispatched)
    simulation.dispatched.append(first.batcher)
    leaving = 0 if shared else simulation.leaving[first.batcher]
    most_rows = _most_rows(first.batcher, [one.ticket for one in line], leaving, now)
    assert len(batch) == 1 or sum(one.ticket.rows for one in batch) <= most_rows, f"a batch over {most_rows} rows"
    simulation.leaving[first.batcher] = simulation.leaving[first.batcher] + 1 if len(line) > len(batch) else 0
    order = simulation.order(first.batcher)
    tickets = [one.ticket for one in batch]
    if tickets[0].key is None:
        lanes = [([tickets[0]], 1)]
    expected = [ticket for lane, members in lanes for ticket in order.order(lane, members)]
    assert tickets == expected, "a batch is the front of its lanes, without those who left or are late"
    if options.lengths is not None:
        _check_padding(first.batcher, tickets)
    safe_s = safely_s(first.batcher, now, cost_of(options, tickets))
    assert all(one.ticket.answer_by_s >= now + safe_s - 1e-6 for one in batch), "members that will be late"
    assert all(one.ticket.deadline_s > now for one in batch), "late members are not computed"
    held_back = line[0].ticket.arrived_s + options.delay_s > now
    foremost = order.first([one.ticket for one in line])
    assert held_back or tickets[0] is foremost, "who goes first was passed over"
    order.serve(tickets)
    for one in batch:
        one.submitted_s = now
        simulation.batches[one] = batch


def _most_rows(batcher: Batcher, line: Sequence[Ticket], leaving: int, now: float) -> int:
    """Return how many rows may share a batch where so many in a row have left somebody waiting."""
    options, forecast = batcher.options, batcher.forecast
    rows = min(sum(ticket.rows for ticket in line) // forecast.slots, options.pressed_rows)
    far_s = 8 * forecast.execution_s(rows)
    far = min(ticket.deadline_s for ticket in line) >= now + far_s and options.execution_limit_s >= far_s
    alike = len({ticket.key for ticket in line}) == 1
    return max(rows, options.max_rows) if far and alike and leaving >= options.pressed_after else options.max_rows


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


def _check_padding(batcher: Batcher, tickets: Sequence[Ticket]) -> None:
    """A batch has no more cells than it may, and no more padding than pays, or than its half."""
    forecast = batcher.forecast
    own = sum(ticket.rows * ticket.bucket for ticket in tickets)
    cells = sum(ticket.rows for ticket in tickets) * max(ticket.bucket for ticket in tickets)
    assert len(tickets) == 1 or cells <= forecast.full_cost, f"{cells} cells where {forecast.full_cost} fit"
    assert cells - own <= min(own, forecast.spare_cost), f"{cells - own} cells of padding for {own}"


def _joined_lanes(line: Sequence[Ticket], batch: Sequence[Ticket]) -> list[tuple[list[Ticket], int]]:
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
