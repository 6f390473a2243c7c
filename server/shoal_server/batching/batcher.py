"""The shell around one version's backlog: timers, executions and answers for what the backlog decides."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from shoal_server.batching.backlog import Backlog, Dispatch, WakeAt
from shoal_server.batching.execution import BatchExecution, Report, Runner
from shoal_server.batching.executor import Execution, Executor
from shoal_server.batching.outcome import Outcome
from shoal_server.batching.slots import Slots
from shoal_server.batching.statistics import Statistics
from shoal_server.batching.ticket import Origin, Ticket
from shoal_server.clock import Clock
from shoal_server.errors import DeadlineExceeded, ExecutionFailed, InternalError, Overloaded, ShoalError
from shoal_server.events import (
    BatchEnded,
    BatchingStopped,
    BatchRun,
    Event,
    ExecutionAbandoned,
    ExecutionBroken,
    Observer,
)
from shoal_server.options import BatchingOptions

HUNG_IN_A_ROW: Final = 3  # executions given up one after the other before the version counts as broken


class _Running:
    __slots__ = ("dispatch", "dispatched_s", "execution", "work")

    def __init__(self, work: BatchExecution, dispatch: Dispatch[Ticket], dispatched_s: float) -> None:
        self.work = work
        self.dispatch = dispatch
        self.dispatched_s = dispatched_s
        self.execution: Execution


class Batcher:
    """Serves one model version. Everything but the executions happens on the loop.

    ``offer`` takes a ticket or raises; ``pump`` carries out what the backlog decides and is to be called after a list
    of offers. Every ticket taken is answered, and then handed to ``settled`` exactly once, on the loop, in lists.
    ``broken`` is called once, when executions hang again and again, and ``closed`` when nothing will come any more.
    """

    def __init__(  # noqa: PLR0913 - its collaborators, each a port
        self,
        origin: Origin,
        runner: Runner,
        options: BatchingOptions,
        instances: int,
        *,
        slots: Slots,
        executor: Executor,
        clock: Clock,
        observer: Observer,
        settled: Callable[[Sequence[Ticket]], None],
        broken: Callable[[str], None],
        closed: Callable[[], None],
    ) -> None:
        self.origin = origin
        self.runner = runner
        self.options = options
        self.statistics = Statistics()
        self.batches = runner.signature.batched
        self.instances = instances
        self._slots = slots
        self._executor = executor
        self._clock = clock
        self._observer = observer
        self._settled = settled
        self._broken = broken
        self._closed = closed
        self._backlog: Backlog[Ticket] = Backlog(options)
        self._running: dict[_Running, None] = {}
        self._hung_in_a_row = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at_s = 0.0

    @property
    def reason(self) -> str:
        """Why the model is batched or is not."""
        if self.runner.signature.batched and not self.batches:
            return "its outputs could not be split by rows, so its requests run one by one"
        return self.runner.batching_reason

    @property
    def waiting(self) -> int:
        """Requests in the line."""
        return len(self._backlog)

    @property
    def running(self) -> int:
        """Batches under way."""
        return len(self._running)

    def offer(self, ticket: Ticket) -> None:
        """Take a ticket; ``pump`` must follow.

        Raises:
            Overloaded: a bound of the model's line is reached; the ticket was not taken.
        """
        if not self.batches:
            ticket.key = None
        try:
            self._backlog.offer(ticket)
        except Overloaded as error:
            raise Overloaded(f"model '{self.origin.model}' is overloaded: {error}", error.bound) from None

    def withdraw(self, ticket: Ticket) -> None:
        """The caller left: a waiting ticket is never run; a running one loses its answer, and nobody else notices."""
        ticket.leave()
        if self._backlog.withdraw(ticket):
            self.statistics.failed(ticket, self._clock.monotonic())
            self._settled((ticket,))

    def pump(self) -> None:
        """Let the backlog decide until it has nothing more to do now."""
        backlog, slots = self._backlog, self._slots
        if not backlog:
            return  # as after most batches: worth a test of its own
        now = self._clock.monotonic()
        self._expire(now)
        while True:
            may_start = self.instances - len(self._running)
            decision = backlog.next(now, min(may_start, slots.free))
            if not isinstance(decision, Dispatch):
                break
            self._start(decision, now)
        if isinstance(decision, WakeAt):
            if may_start > 0 and not slots.free:
                slots.wait(self.pump)
            self._wake_at(decision.at_s)

    def hurry(self) -> None:
        """Hold no incomplete batch back any more: nobody new will come."""
        self._backlog.hurry()
        self.pump()

    def fail_waiting(self, error: ShoalError) -> None:
        """Answer everyone in the line with an error."""
        now = self._clock.monotonic()
        tickets = self._backlog.drain()
        for ticket in tickets:
            ticket.fail(error)
            self.statistics.failed(ticket, now)
        if tickets:
            self._settled(tickets)

    def close(self) -> None:
        """Stop the timers; nothing waits and nothing runs any more."""
        assert not self._backlog, "a batcher is closed when its last ticket is settled"
        self._slots.forget(self.pump)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._closed()

    def _expire(self, now: float) -> None:
        expired = self._backlog.expire(now)
        for ticket in expired:
            ticket.fail(DeadlineExceeded("the deadline passed while the request waited for its batch"))
            self.statistics.failed(ticket, now)
        if expired:
            self._settled(expired)

    def _start(self, dispatch: Dispatch[Ticket], now: float) -> None:
        work = BatchExecution(self.origin, self.runner, self.options, dispatch.entries)
        for ticket in work.traced:
            assert ticket.trace is not None, "that is why it is among the traced"
            ticket.trace.dispatched = True
        self.statistics.dispatched(dispatch.rows, dispatch.reason)
        running = _Running(work, dispatch, now)
        self._slots.take()
        self._running[running] = None
        try:
            running.execution = self._executor.submit(work, lambda report: self._ended(running, report))
        except Exception as error:  # noqa: BLE001 - no thread to be had, say; members are owed an answer
            for ticket in work.tickets:
                ticket.fail(InternalError(f"the batch could not be started: {error!r}"))
            self._finish(running, Report(bugs=[error]), now)
            return
        self._wake_at(now + self.options.execution_limit_s)

    def _ended(self, running: _Running, report: Report) -> None:
        """An execution came back."""
        self._hung_in_a_row = 0
        self._finish(running, report, self._clock.monotonic())
        self.pump()

    def _finish(self, running: _Running, report: Report, now: float) -> None:
        """Count an execution whose members are answered, settle them, and free its slot."""
        del self._running[running]
        tickets = running.work.tickets
        self.statistics.executed(tickets, report, running.dispatched_s, now)
        if running.work.traced:
            self._tell(self._traced(running, report, now))
        model, version, _uid = self.origin
        for bug in report.bugs:
            self._tell(ExecutionBroken(model, version, repr(bug)))
        if report.rows_mixed and self.batches:
            self.batches = False
            self._tell(BatchingStopped(model, version))
        self._settled(tickets)
        self._slots.give_back()

    def _abandon_hung(self, now: float) -> None:
        """Give up executions past the limit: their members are answered, their slots and threads made good."""
        model, version, _uid = self.origin
        limit_s = self.options.execution_limit_s
        for running in [r for r in self._running if r.dispatched_s + limit_s <= now]:
            work = running.work
            for ticket in work.tickets:
                ticket.fail(ExecutionFailed(f"model '{model}' did not finish within {limit_s:g} s"), Outcome.ABANDONED)
            bugs: list[Exception] = []
            try:
                running.execution.abandon()
            except Exception as error:  # noqa: BLE001 - no thread to be had in its place, say
                bugs.append(error)
            work.control.stop()
            self._tell(ExecutionAbandoned(model, version, len(work.tickets), limit_s))
            self._hung_in_a_row += 1
            if self._hung_in_a_row == HUNG_IN_A_ROW:
                self._broken(f"{HUNG_IN_A_ROW} executions in a row did not finish within {limit_s:g} s")
            # A copy: the thread has answered some members, perhaps, and may go on adding to its report.
            self._finish(running, Report(runs=list(work.report.runs), bugs=bugs), now)

    def _traced(self, running: _Running, report: Report, now: float) -> BatchEnded:
        """Return what is told of a batch with traced members."""
        traced = running.work.traced
        return BatchEnded(
            self.origin.model,
            self.origin.version,
            len(running.work.tickets),
            running.dispatch.rows,
            running.dispatch.reason.value,
            running.dispatched_s,
            now,
            broken=bool(report.bugs),
            members=[ticket.trace for ticket in traced if ticket.trace is not None],
            arrived_s=[ticket.arrived_s for ticket in traced],
            runs=[BatchRun(r.rows, r.began_ns, r.input_ns, r.infer_ns, r.output_ns, r.members) for r in report.runs],
        )

    def _tell(self, event: Event) -> None:
        # In a turn of the loop of its own: an observer that raises, against its contract, costs no slot and no lease.
        asyncio.get_running_loop().call_soon(self._observer.observe, event)

    def _wake_at(self, at_s: float) -> None:
        """See to it that the batcher wakes by then; an earlier waking, already set, will set the next itself."""
        if self._timer is not None:
            if self._timer_at_s <= at_s:
                return
            self._timer.cancel()
        self._timer_at_s = at_s
        delay_s = max(at_s - self._clock.monotonic(), 0.0)
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._woken)

    def _woken(self) -> None:
        self._timer = None
        self._abandon_hung(self._clock.monotonic())
        oldest = next(iter(self._running), None)
        if oldest is not None:
            self._wake_at(oldest.dispatched_s + self.options.execution_limit_s)
        self.pump()

    def __repr__(self) -> str:
        return f"<Batcher {self.origin.model}/{self.origin.version}: {self._backlog!r}, {len(self._running)} running>"
