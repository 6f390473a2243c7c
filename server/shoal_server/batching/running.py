"""Batches under way, as their batcher keeps them."""

from collections.abc import Iterator

from shoal_server.batching.decision import Dispatch
from shoal_server.batching.execution import BatchExecution, Report
from shoal_server.batching.executor import Execution
from shoal_server.batching.outcome import Outcome
from shoal_server.batching.ticket import Ticket
from shoal_server.errors import ShoalError
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

    def give_up(self, error: ShoalError) -> Report:
        """Answer its members with an error, have its thread replaced, and ask it to stop; return what became of it."""
        for ticket in self.work.tickets:
            ticket.fail(error, Outcome.ABANDONED)
        bugs: list[Exception] = []
        try:
            self.execution.abandon()
        except Exception as bug:  # noqa: BLE001 - no thread to be had in its place, say
            bugs.append(bug)
        self.work.control.stop()
        # A copy: the thread has answered some members, perhaps, and may go on adding to its report.
        return Report(runs=list(self.work.report.runs), bugs=bugs)

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


class RunningBatches:
    """Those of one batcher, the oldest first. Loop only."""

    def __init__(self) -> None:
        self._batches: dict[Running, None] = {}

    def add(self, batch: Running) -> None:
        """Keep a batch that begins, and mark its traced members as dispatched."""
        for ticket in batch.work.traced:
            assert ticket.trace is not None, "that is why it is among the traced"
            ticket.trace.dispatched = True
        self._batches[batch] = None

    def remove(self, batch: Running) -> None:
        """Forget a batch that is over."""
        del self._batches[batch]

    @property
    def members(self) -> int:
        """The requests in all of them."""
        return sum([len(batch.work.tickets) for batch in self._batches])

    @property
    def oldest_s(self) -> float:
        """When the oldest was dispatched; there is one."""
        return next(iter(self._batches)).dispatched_s

    def overdue(self, now: float, limit_s: float) -> list[Running]:
        """Return those that were dispatched ``limit_s`` seconds ago or earlier."""
        return [batch for batch in self._batches if batch.dispatched_s + limit_s <= now]

    def stop_deserted(self) -> None:
        """Stop those for which nobody waits any more."""
        for batch in self._batches:
            # Mostly one look at the first member of each. Who else is in the batch of the leaver is not recorded.
            if all(member.answered for member in batch.work.tickets):
                batch.work.control.stop()

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Running]:
        return iter(self._batches)
