"""The shell around one version's backlog: timers, executions and answers for what the backlog decides."""

import asyncio
from collections.abc import Callable, Sequence
from time import thread_time_ns
from typing import Final

from shoal_server.batching.alarm import Alarm
from shoal_server.batching.backlog import Backlog
from shoal_server.batching.burst import AT_A_TIME_S, AtOnce, Burst
from shoal_server.batching.decision import Dispatch, TooLate, WakeAt
from shoal_server.batching.execution import BatchExecution, Report, Runner
from shoal_server.batching.executor import BatchExecutor
from shoal_server.batching.flight import Flight
from shoal_server.batching.forecast import Forecast
from shoal_server.batching.limit import AdaptiveLimit, LimitBounds
from shoal_server.batching.outcome import Outcome
from shoal_server.batching.running import Running, RunningBatches
from shoal_server.batching.sharer import Sharer
from shoal_server.batching.slots import Slots
from shoal_server.batching.splitter import Splitter
from shoal_server.batching.statistics import Statistics
from shoal_server.batching.ticket import Origin, Ticket
from shoal_server.clock import Clock
from shoal_server.errors import Bound, DeadlineExceeded, ExecutionFailed, InternalError, Overloaded, ShoalError
from shoal_server.events import BatchingStopped, Event, ExecutionAbandoned, ExecutionBroken, Observer
from shoal_server.options import AnswerOptions, BatchingOptions, FairnessOptions
from shoal_server.tensors.spec import KnownForm

HUNG_IN_A_ROW: Final = 3  # executions given up one after the other before the version counts as broken


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
        executor: BatchExecutor,
        clock: Clock,
        observer: Observer,
        fairness: FairnessOptions | None = None,
        answers: AnswerOptions | None = None,
        cpu_ns: Callable[[], int] = thread_time_ns,
        settled: Callable[[Sequence[Ticket]], None],
        broken: Callable[[str], None],
        closed: Callable[[], None],
    ) -> None:
        self.origin = origin
        self.runner = runner
        self.options = options
        self._guarded = answers is not None and answers.nan_guard
        self._statistics = Statistics()
        self.batches = runner.signature.batched
        self.instances = instances
        self._slots = slots
        self._slot_account = account = slots.account(self.pump)
        self._executor = executor
        self._clock = clock
        self._observer = observer
        self._cpu_ns = cpu_ns
        self._settled = settled
        self._broken = broken
        self._closed = closed
        self.forecast = Forecast(options, min(instances, slots.total), runner.timings)
        self._limit = AdaptiveLimit(LimitBounds(least=options.max_rows)) if options.adaptive_limit else None
        self._backlog: Backlog[Ticket] = Backlog(options, self.forecast, fairness)
        self._splitter = Splitter(self._backlog, self.forecast, options, min(instances, slots.total), self._whole_over)
        self._sharer: Sharer | None = None
        if answers is not None and (answers.share_in_flight or answers.cache_bytes):
            self._sharer = Sharer(answers, self._backlog, clock, self._statistics, settled)
        self._at_once: AtOnce | None = None
        if runner.steady and not (self._guarded or self._limit or self._sharer or fairness or options.delay_s):
            self._at_once = AtOnce(
                origin, options, slots, account, executor, clock, self.forecast, self._statistics, cpu_ns, observer
            )
        self._running = RunningBatches()
        self._hung_in_a_row = 0
        self._alarm = Alarm(clock, self._woken)

    @property
    def statistics(self) -> Statistics:
        """What it has done so far."""
        return self._statistics.counted()

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

    @property
    def _inside(self) -> int:
        """Requests in the line and in batches under way."""
        return len(self._backlog) + self._running.members

    def offer(self, ticket: Ticket) -> None:
        """Take a ticket; ``pump`` must follow.

        Raises:
            Overloaded: a bound of the model's line is reached, or the line is too long for the ticket's deadline.
            DeadlineExceeded: the model takes longer than the deadline allows.
            InvalidRequest: it has so many rows that it would take too many batches.
        """
        if not self.batches:
            ticket.key = None
        if self._limit is not None and self._inside >= self._limit.limit:
            text = f"model '{self.origin.model}' is overloaded: it takes {self._limit.limit} requests at once now"
            raise Overloaded(text, Bound.REQUESTS, retry_after_s=self.forecast.drain_s(self._backlog.cost / 2))
        try:
            if ticket.rows > self.options.max_rows and ticket.key is not None:
                self._splitter.offer(ticket)
            elif self._sharer is not None:
                self._sharer.offer(ticket)
            else:
                self._backlog.offer(ticket)
        except Overloaded as error:
            text = f"model '{self.origin.model}' is overloaded: {error}"
            raise Overloaded(text, error.bound, retry_after_s=error.retry_after_s, late_s=error.late_s) from None

    def run_now(self, burst: Burst, form: KnownForm) -> int:
        """Answer requests where they came, if nobody waits, nothing is in the way and their batch is known to be quick.

        Returns how many were answered, the first ones first; the others are to be offered with a ticket each.
        """
        if self._at_once is None or self._backlog or not self.batches or len(self._running) >= self.instances:
            return 0
        answered = self._at_once.run(self.runner, burst, form)
        if answered:
            self._hung_in_a_row = 0
        return answered

    def withdraw(self, ticket: Ticket) -> None:
        """The caller left: nobody else notices, and what only he waited for is not run, or is stopped."""
        now = self._clock.monotonic()
        # Transports end a call at its deadline too, and may be sooner than our own timer.
        left = ticket.leave(Outcome.DEADLINE if now >= ticket.deadline_s else Outcome.CANCELLED)
        if self._backlog.withdraw(ticket):
            self._statistics.failed(ticket, now)
            self._settled((ticket,))
        elif left:
            self._backlog.deserted()
            if self._splitter:
                self._splitter.left(ticket, now)
            if self._sharer is not None:
                self._sharer.left(ticket, now)
            self._running.stop_deserted()

    def pump(self) -> None:
        """Let the backlog decide until it has nothing more to do now."""
        backlog, slots = self._backlog, self._slots
        if self._sharer is not None:
            self._sharer.answer_known()
        if not backlog:
            return  # as after most batches: worth a test of its own
        now = self._clock.monotonic()
        until_s = now + AT_A_TIME_S
        while True:
            self._expire(now)
            may_start = self.instances - len(self._running)
            decision = backlog.next(now, min(may_start, slots.free), shared=slots.shared(self._slot_account))
            if isinstance(decision, Dispatch):
                if self._start(decision, now):  # and it is over
                    now = self._clock.monotonic()
                    if now >= until_s:
                        asyncio.get_running_loop().call_soon(self.pump)
                        return
            elif isinstance(decision, TooLate):
                self._fail_late(decision.entries, "when its turn came, the deadline was too close for the model", now)
            else:
                break
        if isinstance(decision, WakeAt):
            if may_start > 0 and not slots.free:
                slots.wait(self._slot_account)
            self._alarm.set(decision.at_s)

    def hurry(self) -> None:
        """Hold no incomplete batch back any more: nobody new will come."""
        self._backlog.hurry()
        self.pump()

    def fail_waiting(self, error: ShoalError) -> None:
        """Answer everyone in the line with an error."""
        now = self._clock.monotonic()
        tickets = self._backlog.drain()
        for ticket in tickets:
            if isinstance(ticket, Flight):
                ticket.fail_all(error)
            else:
                ticket.fail(error)
        self._unserved(tickets, now)
        self._splitter.fail_waiting(error, now)

    def close(self) -> None:
        """Stop the timers; nothing waits and nothing runs any more."""
        assert not self._backlog, "a batcher is closed when its last ticket is settled"
        self._slots.forget(self._slot_account)
        if self._sharer is not None:
            self._sharer.close()
        self._alarm.cancel()
        self._closed()

    def _expire(self, now: float) -> None:
        # Again: whoever shared the place of one who expired may come into the line with a deadline of his own.
        while expired := self._backlog.expire(now):
            self._fail_late(expired, "the deadline passed while the request waited for its batch", now)

    def _fail_late(self, tickets: Sequence[Ticket], why: str, now: float) -> None:
        for ticket in tickets:
            if self._limit is not None:
                self._limit.on_sample(now - ticket.arrived_s, self._inside, dropped=True)
            ticket.fail(DeadlineExceeded(why))
        self._unserved(tickets, now)

    def _unserved(self, tickets: Sequence[Ticket], now: float) -> None:
        """Count and settle those that left the line with an error."""
        if self._splitter:
            tickets = self._splitter.ended(tickets, now)
            self._running.stop_deserted()
        if self._sharer is not None:
            tickets = self._sharer.ended(tickets, now)
        for ticket in tickets:
            self._statistics.failed(ticket, now)
        if tickets:
            self._settled(tickets)

    def _whole_over(self, ticket: Ticket, dispatched_s: float | None) -> None:
        """Count and settle a request that was computed in parts."""
        now = self._clock.monotonic()
        if ticket.ok and dispatched_s is not None:
            self._statistics.answered(ticket, dispatched_s, now)
        else:
            self._statistics.failed(ticket, now)
        self._settled((ticket,))

    def _start(self, dispatch: Dispatch[Ticket], now: float) -> bool:
        """Have a batch run; return whether it is over."""
        work = BatchExecution(
            self.origin, self.runner, self.options, dispatch.entries, guarded=self._guarded, cpu_ns=self._cpu_ns
        )
        if self._splitter:
            work.has_parts = self._splitter.dispatched(work.tickets, now)
        if self._sharer is not None:
            self._sharer.dispatched(work.tickets, now)
        self._statistics.dispatched(dispatch.rows, dispatch.reason)
        ends_s = self.forecast.started(now, dispatch.cost)
        running = Running(work, dispatch, now, ends_s, pressed=bool(self._backlog))
        self._slots.take(self._slot_account)
        self._running.add(running)
        report = self._executor.run_here(work) if self.runner.steady else None
        if report is not None:
            self._over(running, report)
            return True
        try:
            running.execution = self._executor.submit(work, lambda report: self._ended(running, report))
        except Exception as error:  # noqa: BLE001 - no thread to be had, say; members are owed an answer
            for ticket in work.tickets:
                ticket.fail(InternalError(f"the batch could not be started: {error!r}"))
            self._finish(running, Report(bugs=[error]), now)
            return True
        self._alarm.set(now + self.options.execution_limit_s)
        return False

    def _ended(self, running: Running, report: Report) -> None:
        """An execution came back from its thread."""
        self._over(running, report)
        self.pump()

    def _over(self, running: Running, report: Report) -> None:
        """Learn from an execution, and be done with it."""
        self._hung_in_a_row = 0
        now = self._clock.monotonic()
        if len(report.runs) == 1 and not report.bugs:  # in one go, so that it says what a batch takes
            self.forecast.observe(now, report.runs[0].cost, now - running.dispatched_s, report.runs[0].cpu_ns / 1e9)
        self._finish(running, report, now)

    def _finish(self, running: Running, report: Report, now: float) -> None:
        """Count an execution whose members are answered, settle them, and free its slot."""
        tickets = running.work.tickets
        if self._limit is not None:
            inside = self._inside
            for ticket in tickets:
                self._limit.on_sample(now - ticket.arrived_s, inside, dropped=ticket.outcome is not Outcome.OK)
        self._running.remove(running)
        if self._splitter:
            tickets = self._splitter.ended(tickets, now)
            self._running.stop_deserted()
        if self._sharer is not None:
            tickets = self._sharer.ended(tickets, now)
        self._statistics.executed(tickets, report, running.dispatched_s, now)
        self.forecast.ended(now, running.ends_s, running.dispatch.cost, pressed=running.pressed)
        if running.work.traced:
            self._tell(running.told(report, now))
        model, version, _uid = self.origin
        for bug in report.bugs:
            self._tell(ExecutionBroken(model, version, repr(bug)))
        if report.rows_mixed and self.batches:
            self.batches = False
            self._tell(BatchingStopped(model, version))
        if tickets:
            self._settled(tickets)
        self._slots.give_back(self._slot_account, now - running.dispatched_s)

    def _abandon_hung(self, now: float) -> None:
        """Give up executions past the limit: their members are answered, their slots and threads made good."""
        model, version, _uid = self.origin
        limit_s = self.options.execution_limit_s
        for running in self._running.overdue(now, limit_s):
            report = running.give_up(ExecutionFailed(f"model '{model}' did not finish within {limit_s:g} s"))
            self._tell(ExecutionAbandoned(model, version, len(running.work.tickets), limit_s))
            self._hung_in_a_row += 1
            if self._hung_in_a_row == HUNG_IN_A_ROW:
                self._broken(f"{HUNG_IN_A_ROW} executions in a row did not finish within {limit_s:g} s")
            self._finish(running, report, now)

    def _tell(self, event: Event) -> None:
        # In a turn of the loop of its own: an observer that raises, against its contract, costs no slot and no lease.
        asyncio.get_running_loop().call_soon(self._observer.observe, event)

    def _woken(self) -> None:
        self._abandon_hung(self._clock.monotonic())
        if self._running:
            self._alarm.set(self._running.oldest_s + self.options.execution_limit_s)
        self.pump()

    def __repr__(self) -> str:
        return f"<Batcher {self.origin.model}/{self.origin.version}: {self._backlog!r}, {len(self._running)} running>"
