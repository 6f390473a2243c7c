"""Requests of one form that came together and are answered where they came: on the loop, without a ticket for each.

Most requests for a small model find nobody waiting, and their batch is over before a thread could take it up. What a
ticket is for, that somebody may leave, expire or be refused while it waits, cannot happen to them. Whatever else could
is a reason to go the long way: ``AtOnce`` takes only what is known to be right, quick and in time, and where a batch
fails nobody has been answered, so that the long way finds out who is at fault.

It takes no slot, as slots share out the threads: while models that compute for long have all of them, who is over
sooner than a thread could take him up does not wait. What he uses is charged, so he is no better off where he waits.
"""

import asyncio
from collections.abc import Callable, Sequence
from math import inf
from time import perf_counter_ns
from typing import Final, Protocol

from shoal_server.batching.decision import CloseReason
from shoal_server.batching.execution import Run, Runner
from shoal_server.batching.executor import BatchExecutor
from shoal_server.batching.forecast import Forecast
from shoal_server.batching.slots import Account, Slots
from shoal_server.batching.statistics import Statistics
from shoal_server.batching.ticket import Origin, Outputs
from shoal_server.clock import Clock
from shoal_server.events import BatchEnded, BatchRun, Observer, Traced
from shoal_server.options import BatchingOptions
from shoal_server.tensors.batch import as_array, blocks_of, pad_rows
from shoal_server.tensors.spec import KnownForm

_FULL: Final = CloseReason.FULL  # looked up once, not for each batch
_SLOT_FREE: Final = CloseReason.SLOT_FREE

AT_A_TIME_S: Final = 0.004
"""For how long quick batches of one model may keep the loop from everything else."""


class Burst(Protocol):
    """The requests, in the order in which they came. They have names, types, shapes and sizes of inputs in common."""

    @property
    def size_bytes(self) -> int:
        """Of all messages."""
        ...

    @property
    def earliest_s(self) -> float:
        """The first deadline, in monotonic seconds; infinity where nobody has one."""
        ...

    def __len__(self) -> int:
        """How many there are."""
        ...

    def elements(self, number: int, start: int, stop: int) -> bytes:
        """Return the elements of one input of the requests from ``start`` to ``stop``, one after the other."""
        ...

    def traced(self, start: int, stop: int) -> Sequence[Traced]:
        """Return the records of those of the requests from ``start`` to ``stop`` that are traced."""
        ...

    def succeed(self, outputs: Outputs, start: int, stop: int, rows: int) -> int:
        """Answer the requests from ``start`` to ``stop`` with ``rows`` rows each; return how many still waited.

        Where it raises, it has sent nothing.
        """
        ...


class AtOnce:
    """Answers bursts for one model version. Loop only."""

    def __init__(  # noqa: PLR0913, PLR0917 - the batcher's own collaborators
        self,
        origin: Origin,
        options: BatchingOptions,
        slots: Slots,
        account: Account,
        executor: BatchExecutor,
        clock: Clock,
        forecast: Forecast,
        statistics: Statistics,
        cpu_ns: Callable[[], int],
        observer: Observer,
    ) -> None:
        """``cpu_ns`` tells what processor time the calling thread has had; the observer hears of traced batches."""
        self._cpu_ns = cpu_ns
        self._observer = observer
        self._origin = origin
        self._options = options
        self._most_rows = options.max_rows
        self._slots = slots
        self._account = account
        self._executor = executor
        self._clock = clock
        self._forecast = forecast
        self._statistics = statistics

    def run(self, runner: Runner, burst: Burst, form: KnownForm) -> int:
        """Answer as many of the requests, the first ones first, as may be answered at once; return how many."""
        most = self._most_rows // form.rows
        known = (self._origin, form.key)
        executor, forecast = self._executor, self._forecast
        came_s = now = self._clock.monotonic()
        until_s = came_s + AT_A_TIME_S
        start, count = 0, len(burst)
        while start < count and most and now < until_s:
            stop = min(start + most, count)
            rows = (stop - start) * form.rows
            if not executor.is_quick(known, rows):
                break
            if burst.earliest_s < inf and burst.earliest_s <= now + forecast.safe_execution_s(now, rows):
                break
            traced = burst.traced(start, stop)
            for trace in traced:
                trace.dispatched = True
            try:
                run = self._run(runner, burst, form, start, stop)
            except Exception:  # noqa: BLE001 - what a runtime may raise is not ours to enumerate; the long way tells of it
                run = None
            dispatched_s, now = now, self._clock.monotonic()
            took_s = now - dispatched_s
            self._slots.charge(self._account, took_s)
            forecast.drained(now, rows, pressed=stop < count)
            if run is None:
                for trace in traced:
                    trace.dispatched = False
                break
            reason = _FULL if rows >= self._most_rows else _SLOT_FREE
            if traced:
                self._tell(self._told(run, stop - start, reason, traced, (came_s, dispatched_s, now)))
            executor.learn(known, rows, run.cpu_ns / 1e9)
            forecast.observe(now, rows, took_s)
            self._statistics.executed_at_once(run, stop - start, reason, came_s, dispatched_s, now)
            start = stop
        return start

    def _tell(self, event: BatchEnded) -> None:
        # Nothing is held here, there are many such batches, and a turn of the loop for each cost 40 us.
        try:
            self._observer.observe(event)
        except Exception as error:  # noqa: BLE001 - it ends where it would have from a turn of its own
            asyncio.get_running_loop().call_exception_handler({"message": "an observer failed", "exception": error})

    def _told(
        self,
        run: Run,
        requests: int,
        reason: CloseReason,
        traced: Sequence[Traced],
        times_s: tuple[float, float, float],
    ) -> BatchEnded:
        """Return what is told of a batch with traced members, which came, were dispatched and were over then."""
        came_s, dispatched_s, ended_s = times_s
        model, version, _uid = self._origin
        return BatchEnded(
            model,
            version,
            requests,
            run.rows,
            reason.value,
            dispatched_s,
            ended_s,
            broken=False,
            members=traced,
            arrived_s=[came_s] * len(traced),
            runs=[BatchRun(run.rows, run.began_ns, run.input_ns, run.infer_ns, run.output_ns, traced)],
        )

    def _run(self, runner: Runner, burst: Burst, form: KnownForm, start: int, stop: int) -> Run:
        """Answer those from ``start`` to ``stop`` by one batch; where it raises, nobody was answered."""
        began, began_cpu = perf_counter_ns(), self._cpu_ns()
        signature = runner.signature
        rows = (stop - start) * form.rows
        padded = self._options.padded(rows) if self._options.allowed_rows else rows
        inputs = []
        for number, (spec, shape) in enumerate(zip(signature.inputs, form.shapes, strict=True)):
            array = as_array(spec, (rows, *shape[1:]), burst.elements(number, start, stop))
            inputs.append(array if padded <= rows else pad_rows(array, padded))
        assembled = perf_counter_ns()
        arrays = runner.run(inputs, None)  # nobody could end it while it keeps the loop
        computed = perf_counter_ns()
        blocks = blocks_of(signature, arrays, padded)
        outputs = Outputs(self._origin, blocks, tuple([block.tail for block in blocks]))
        answered = burst.succeed(outputs, start, stop, form.rows)
        output_ns = perf_counter_ns() - computed
        cpu_ns = self._cpu_ns() - began_cpu
        return Run(rows, assembled - began, computed - assembled, output_ns, answered, began, cpu_ns=cpu_ns)
