"""What one model version has done so far, in the terms of Triton's statistics extension."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from shoal_server.batching.execution import Report
from shoal_server.batching.ticket import Ticket


@dataclass(slots=True)
class Total:
    """How often, and nanoseconds in all."""

    count: int = 0
    ns: int = 0

    def add(self, ns: int, count: int = 1) -> None:
        """Count ``count`` more, which took ``ns`` together."""
        self.count += count
        self.ns += ns


@dataclass(slots=True)
class Stages:
    """Time spent assembling inputs, in the model, and splitting and encoding outputs."""

    compute_input: Total = field(default_factory=Total)
    compute_infer: Total = field(default_factory=Total)
    compute_output: Total = field(default_factory=Total)


@dataclass(slots=True)
class Statistics:
    """Counters of one model version since it was loaded. Written and read on the loop only.

    ``inference_count`` counts rows and ``execution_count`` calls of the model, of answered requests only. ``stages``
    and ``queue`` count requests, as Triton does; ``batches`` maps rows per call to what such calls took.
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

    def executed(self, tickets: Iterable[Ticket], report: Report, dispatched_s: float, now: float) -> None:
        """Record a batch that ended: each member's time in all and in the queue, each run's time per stage."""
        succeeded = 0
        for ticket in tickets:
            lived_ns = int((now - ticket.arrived_s) * 1e9)
            if ticket.ok:
                succeeded += 1
                self.success.add(lived_ns)
                self.queue.add(int((dispatched_s - ticket.arrived_s) * 1e9))
            else:
                self.fail.add(lived_ns)
        for run in report.runs:
            self.inference_count += run.rows
            self.execution_count += 1
            self._stages(self.batches.setdefault(run.rows, Stages()), run.input_ns, run.infer_ns, run.output_ns, 1)
        if report.runs:
            self.last_inference_s = now
            self._stages(
                self.stages,
                sum(run.input_ns for run in report.runs),
                sum(run.infer_ns for run in report.runs),
                sum(run.output_ns for run in report.runs),
                succeeded,
            )

    def failed(self, ticket: Ticket, now: float) -> None:
        """Record a request that was admitted and never ran."""
        self.fail.add(int((now - ticket.arrived_s) * 1e9))

    @staticmethod
    def _stages(stages: Stages, input_ns: int, infer_ns: int, output_ns: int, count: int) -> None:
        stages.compute_input.add(input_ns, count)
        stages.compute_infer.add(infer_ns, count)
        stages.compute_output.add(output_ns, count)
