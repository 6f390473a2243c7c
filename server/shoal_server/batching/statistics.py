"""What one model version has done so far, in the terms of Triton's statistics extension."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from shoal_server.batching.decision import CloseReason
from shoal_server.batching.execution import Report, Run
from shoal_server.batching.measured import Measured
from shoal_server.batching.outcome import Outcome, outcome_of
from shoal_server.batching.ticket import Ticket
from shoal_server.errors import Bound, Overloaded, ShoalError
from shoal_server.histogram import ROWS, SECONDS, Histogram

_OK: Final = Outcome.OK  # looked up once, not for each request
_MOST_UNCOUNTED: Final = 32  # batches; one by one each finds what it takes to count in no cache, and costs three times
MOST_SIZES: Final = 1024
"""Where the owner sets no limit, callers say how many rows a call has, and could say a million numbers."""


@dataclass(slots=True)
class Total:
    """How often, and nanoseconds in all."""

    count: int = 0
    ns: int = 0

    def add(self, ns: int, count: int) -> None:
        """Count ``count`` more, which took ``ns`` together."""
        self.count += count
        self.ns += ns


@dataclass(slots=True)
class Stages:
    """How often, and nanoseconds spent assembling inputs, in the model, and splitting and encoding outputs."""

    count: int = 0
    input_ns: int = 0
    infer_ns: int = 0
    output_ns: int = 0

    def add(self, run: Run, count: int, continued: int = 0) -> None:
        """Count ``count`` more, each of which took what the run took; ``continued`` of them were counted before."""
        self.count += count - continued
        self.input_ns += run.input_ns * count
        self.infer_ns += run.infer_ns * count
        self.output_ns += run.output_ns * count


@dataclass(slots=True)
class Statistics:
    """Counters of one model version since it was loaded. Written and read on the loop only, after ``counted``.

    ``inference_count`` counts rows and ``execution_count`` calls of the model, of answered requests only. ``stages``
    and ``queue`` count requests, as Triton does; ``batches`` maps rows per call to what such calls took, for the first
    ``MOST_SIZES`` numbers of rows that came.
    ``last_inference_s`` is monotonic, 0 where there was none. ``cache_hit`` are requests that an earlier answer was
    given to, ``cache_miss`` those that a cache was asked for in vain, and ``shared`` those that were computed with
    another of the same content.

    Beside Triton's terms stand those of ``Measured``, and where lengths vary ``cells`` (rows times their lengths) and
    ``padded_cells`` (what was computed for them).
    """

    inference_count: int = 0
    execution_count: int = 0
    last_inference_s: float = 0.0
    cells: int = 0
    padded_cells: int = 0
    success: Total = field(default_factory=Total)
    fail: Total = field(default_factory=Total)
    queue: Total = field(default_factory=Total)
    cache_hit: Total = field(default_factory=Total)
    cache_miss: Total = field(default_factory=Total)
    shared: int = 0
    stages: Stages = field(default_factory=Stages)
    batches: dict[int, Stages] = field(default_factory=dict)
    failures: Counter[Outcome] = field(default_factory=Counter)
    queue_refusals: Counter[Bound] = field(default_factory=Counter)
    close_reasons: Counter[CloseReason] = field(default_factory=Counter)
    queue_s: Histogram = field(default_factory=lambda: Histogram(SECONDS))
    request_s: Histogram = field(default_factory=lambda: Histogram(SECONDS))
    batch_rows: Histogram = field(default_factory=lambda: Histogram(ROWS))
    input_s: Histogram = field(default_factory=lambda: Histogram(SECONDS))
    infer_s: Histogram = field(default_factory=lambda: Histogram(SECONDS))
    output_s: Histogram = field(default_factory=lambda: Histogram(SECONDS))
    _uncounted: list[tuple[Run, int, CloseReason, float, float, float]] = field(default_factory=list)

    def dispatched(self, rows: int, reason: CloseReason) -> None:
        """Record a batch that begins."""
        self.batch_rows.add(rows)
        self.close_reasons[reason] += 1

    def refused(self, error: ShoalError, *, by_queue: bool) -> None:
        """Record a request that was not admitted, by the model's own line or before."""
        self.failures[outcome_of(error)] += 1
        if by_queue and isinstance(error, Overloaded):
            self.queue_refusals[error.bound] += 1

    def refused_again(self, bound: Bound, times: int, *, by_queue: bool) -> None:
        """Record so many that were refused for the same reason as one before them."""
        self.failures[Outcome.OVERLOADED] += times
        if by_queue:
            self.queue_refusals[bound] += times

    def executed(self, tickets: Sequence[Ticket], report: Report, dispatched_s: float, now: float) -> None:
        """Record a batch that ended: each member's time in all and in the queue, each run's time per stage."""
        arrived_s = [ticket.arrived_s for ticket in tickets if ticket.outcome is _OK]
        lived_s = [now - at_s for at_s in arrived_s]
        waited_s = [dispatched_s - at_s for at_s in arrived_s]
        self.request_s.add_all(lived_s)
        self.queue_s.add_all(waited_s)
        self.success.add(int(sum(lived_s) * 1e9), len(arrived_s))
        self.queue.add(int(sum(waited_s) * 1e9), len(arrived_s))
        if len(arrived_s) < len(tickets):
            for ticket in tickets:
                if ticket.outcome is not Outcome.OK:
                    self.failed(ticket, now)
        for run in report.runs:
            self._ran(run, now)

    def executed_at_once(  # noqa: PLR0913, PLR0917 - all that is known of such a batch
        self, run: Run, requests: int, reason: CloseReason, came_s: float, dispatched_s: float, now: float
    ) -> None:
        """Record a batch whose members had no tickets: all came at the same time, and who was not answered had left."""
        uncounted = self._uncounted
        uncounted.append((run, requests, reason, came_s, dispatched_s, now))
        if len(uncounted) >= _MOST_UNCOUNTED:
            self.counted()

    def counted(self) -> "Statistics":
        """Return these, with all counted that was recorded."""
        for run, requests, reason, came_s, dispatched_s, now in self._uncounted:
            self.dispatched(run.rows, reason)
            answered = run.requests
            if answered:
                self.request_s.add(now - came_s, answered)
                self.queue_s.add(dispatched_s - came_s, answered)
                self.success.add(int((now - came_s) * 1e9) * answered, answered)
                self.queue.add(int((dispatched_s - came_s) * 1e9) * answered, answered)
            if answered < requests:
                self.fail.add(int((now - came_s) * 1e9) * (requests - answered), requests - answered)
                self.failures[Outcome.CANCELLED] += requests - answered
            self._ran(run, now)
        self._uncounted.clear()
        return self

    def _ran(self, run: Run, now: float) -> None:
        self.input_s.add(run.input_ns / 1e9)
        self.infer_s.add(run.infer_ns / 1e9)
        self.output_s.add(run.output_ns / 1e9)
        stages = self.batches.get(run.rows)
        if stages is None and len(self.batches) < MOST_SIZES:
            stages = self.batches[run.rows] = Stages()
        if stages is not None:
            stages.add(run, 1)
        # Each request waited for the whole of its batch, so each counts all of that time, as in Triton.
        self.stages.add(run, run.requests, run.continued)
        self.inference_count += run.rows
        self.execution_count += 1
        self.cells += run.cells
        self.padded_cells += run.padded_cells
        self.last_inference_s = max(self.last_inference_s, now)  # those without tickets are counted later

    def answered(self, ticket: Ticket, dispatched_s: float, now: float) -> None:
        """Record a request that was answered with results by other means than as a member of one batch."""
        self.request_s.add(now - ticket.arrived_s)
        waited_s = max(dispatched_s - ticket.arrived_s, 0.0)
        self.queue_s.add(waited_s)
        self.success.add(int((now - ticket.arrived_s) * 1e9), 1)
        self.queue.add(int(waited_s * 1e9), 1)

    def failed(self, ticket: Ticket, now: float) -> None:
        """Record a request that was admitted and got no results."""
        self.fail.add(int((now - ticket.arrived_s) * 1e9), 1)
        # A batch that is given up while its thread answers a member counts it before that thread can say how it went.
        self.failures[ticket.outcome or Outcome.ABANDONED] += 1

    def measured(self) -> Measured:
        """Return a copy of what exporters read."""
        self.counted()
        outcomes = {Outcome.OK: self.success.count, **self.failures}
        return Measured(
            outcomes,
            dict(self.queue_refusals),
            dict(self.close_reasons),
            self.queue_s.read(),
            self.request_s.read(),
            self.batch_rows.read(),
            self.input_s.read(),
            self.infer_s.read(),
            self.output_s.read(),
            {"hit": self.cache_hit.count, "miss": self.cache_miss.count, "shared": self.shared},
            self.cells,
            self.padded_cells,
        )
