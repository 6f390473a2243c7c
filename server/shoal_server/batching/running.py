"""A batch under way, as its batcher keeps it."""

from shoal_server.batching.decision import Dispatch
from shoal_server.batching.execution import BatchExecution, Report
from shoal_server.batching.executor import Execution
from shoal_server.batching.ticket import Ticket
from shoal_server.events import BatchEnded, BatchRun


class Running:
    """Made when a batch is dispatched; ``execution`` is set as soon as there is one."""

    __slots__ = ("dispatch", "dispatched_s", "ends_s", "execution", "pressed", "work")

    def __init__(
        self, work: BatchExecution, dispatch: Dispatch[Ticket], dispatched_s: float, ends_s: float, *, pressed: bool
    ) -> None:
        self.work = work
        self.dispatch = dispatch
        self.dispatched_s = dispatched_s
        self.ends_s = ends_s  # as foreseen
        self.pressed = pressed  # whether more waited than it could take
        self.execution: Execution

    def told(self, report: Report, now: float) -> BatchEnded:
        """Return what is told of a batch with traced members that is over."""
        origin, traced = self.work.origin, self.work.traced
        return BatchEnded(
            origin.model,
            origin.version,
            len(self.work.tickets),
            self.dispatch.rows,
            self.dispatch.reason.value,
            self.dispatched_s,
            now,
            broken=bool(report.bugs),
            members=[ticket.trace for ticket in traced if ticket.trace is not None],
            arrived_s=[ticket.arrived_s for ticket in traced],
            runs=[BatchRun(r.rows, r.began_ns, r.input_ns, r.infer_ns, r.output_ns, r.members) for r in report.runs],
        )
