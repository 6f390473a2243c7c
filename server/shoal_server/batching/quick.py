"""Batches that are over sooner than a thread could take them up run where they are decided: on the loop.

A batch of a small model computes for tens of microseconds. Handing it to a thread and back costs more than that, most
of it for the interpreter's lock, and the loop has nothing else to do meanwhile than to wait for that lock.

What is known to be quick is known from runs on threads, form by form (the shapes without rows, of one loaded version)
and size by size. So no batch runs on the loop of which that is not known, and one that takes far too long nevertheless
sends its form back to the threads, for longer each time. What counts on the loop is processor time: that others have
taken the processor away, which makes any batch long, says nothing about this one.
"""

from collections import OrderedDict
from collections.abc import Callable
from time import thread_time_ns
from typing import Final, TypeVar

from shoal_server.batching.execution import BatchExecution, Report
from shoal_server.batching.executor import Execution, Executor

T = TypeVar("T")

QUICK_S: Final = 0.0005
"""What the loop may be kept from everything else by one batch; to have a thread do it costs about a third of that."""
MUCH_TOO_LONG_S: Final = 8 * QUICK_S
SEEN: Final = 8
_MOST_SEEN: Final = 1 << 12
_MOST_FORMS: Final = 1024


class _Form:
    __slots__ = ("needed", "sizes")

    def __init__(self) -> None:
        self.needed = SEEN
        self.sizes: dict[int, tuple[int, float]] = {}
        """Runs seen and the time of the quickest, by the number of bits that the rows take."""


class Quick:
    """Which batches are known to be quick. Pure.

    The quickest of ``SEEN`` runs tells: what they compute is the same, and all that a busy machine does is to add.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[object, _Form] = OrderedDict()

    def is_quick(self, form: object, rows: int) -> bool:
        """Whether batches of about so many rows have been seen to be quick."""
        known = self._known.get(form)
        if known is None:
            return False
        seen, quickest_s = known.sizes.get(rows.bit_length(), (0, 0.0))
        return seen >= known.needed and quickest_s <= QUICK_S

    def learn(self, form: object, rows: int, took_s: float) -> None:
        """Take note of a run, wherever it was."""
        known = self._known.get(form)
        if known is None:
            known = self._known[form] = _Form()
            if len(self._known) > _MOST_FORMS:
                self._known.popitem(last=False)
        if took_s > MUCH_TOO_LONG_S and self.is_quick(form, rows):
            known.needed = min(2 * known.needed, _MOST_SEEN)
            known.sizes.clear()
            return
        seen, quickest_s = known.sizes.get(rows.bit_length(), (0, took_s))
        known.sizes[rows.bit_length()] = (min(seen + 1, _MOST_SEEN), min(quickest_s, took_s))


class QuickExecutor:
    """Runs on the loop what is known to be quick, and everything else on threads. Loop only."""

    def __init__(self, threads: Executor, cpu_ns: Callable[[], int] = thread_time_ns) -> None:
        """``cpu_ns`` tells what processor time the calling thread has had."""
        self._cpu_ns = cpu_ns
        self.threads = threads
        quick = Quick()
        self.is_quick = quick.is_quick
        self.learn = quick.learn  # of runs on the loop, their processor time

    def run_here(self, work: BatchExecution) -> Report | None:
        """Run a batch now, on the loop, if it is known to be quick; otherwise return None and do nothing."""
        form, rows = work.form, work.rows
        if form is None or not self.is_quick(form, rows):
            return None
        began_ns = self._cpu_ns()
        report = work()
        self.learn(form, rows, (self._cpu_ns() - began_ns) / 1e9)
        return report

    def submit(self, work: Callable[[], T], done: Callable[[T], None]) -> Execution:
        """Run ``work`` on a thread, then ``done`` with its result on the loop, and learn from batches."""
        form = work.form if isinstance(work, BatchExecution) else None
        if form is None:
            return self.threads.submit(work, done)

        def over(result: T) -> None:
            assert isinstance(result, Report), "that is what an execution returns"
            if len(result.runs) == 1 and not result.bugs:
                run = result.runs[0]
                self.learn(form, run.rows, (run.input_ns + run.infer_ns + run.output_ns) / 1e9)
            done(result)

        return self.threads.submit(work, over)
