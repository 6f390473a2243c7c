"""What one model version has done so far, in the terms of Triton's statistics extension."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from shoal_server.batching.execution import Report, Run
from shoal_server.batching.ticket import Ticket

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
    """Time spent assembling inputs, in the model, and splitting and encoding outputs."""

    compute_input: Total = field(default_factory=Total)
    compute_infer: Total = field(default_factory=Total)
    compute_output: Total = field(default_factory=Total)

    def add(self, run: Run, count: int) -> None:
        """Count ``count`` more, each of which took what the run took."""
        self.compute_input.add(run.input_ns * count, count)
        self.compute_infer.add(run.infer_ns * count, count)
        self.compute_output.add(run.output_ns * count, count)


@dataclass(slots=True)
class Statistics:
    """Counters of one model version since it was loaded. Written and read on the loop only.

    ``inference_count`` counts rows and ``execution_count`` calls of the model, of answered requests only. ``stages``
    and ``queue`` count requests, as Triton does; ``batches`` maps rows per call to what such calls took, for the first
    ``MOST_SIZES`` numbers of rows that came.
    ``last_inference_s`` is monotonic, 0 where there was none.
    """

    inference_count: int = 0
    execution_count: int = 0
    last_inference_s: float = 0.0
    success: Total = field(default_factory=Total)
    fail: Total = field(default_factory=Total)
    queue: Total = field(default_factory=Total)
    stages: Stages = field(default_factory=Stages)
    batches: dict[int, Stages] = field(default_factory=dict)

    def executed(self, tickets: Sequence[Ticket], report: Report, dispatched_s: float, now: float) -> None:
        """Record a batch that ended: each member's time in all and in the queue, each run's time per stage."""
        succeeded = 0
        lived_s = waited_s = failed_s = 0.0
        for ticket in tickets:
            if ticket.ok:
                succeeded += 1
                lived_s += now - ticket.arrived_s
                waited_s += dispatched_s - ticket.arrived_s
            else:
                failed_s += now - ticket.arrived_s
        self.success.add(int(lived_s * 1e9), succeeded)
        self.queue.add(int(waited_s * 1e9), succeeded)
        self.fail.add(int(failed_s * 1e9), len(tickets) - succeeded)
        for run in report.runs:
            stages = self.batches.get(run.rows)
            if stages is None and len(self.batches) < MOST_SIZES:
                stages = self.batches[run.rows] = Stages()
            if stages is not None:
                stages.add(run, 1)
            # Each request waited for the whole of its batch, so each counts all of that time, as in Triton.
            self.stages.add(run, run.requests)
            self.inference_count += run.rows
            self.execution_count += 1
            self.last_inference_s = now

    def failed(self, ticket: Ticket, now: float) -> None:
        """Record a request that was admitted and never ran."""
        self.fail.add(int((now - ticket.arrived_s) * 1e9), 1)
