"""The executor port on virtual time, with the gaps that real threads have.

Work starts some time after ``submit``, it gives its answers while it runs, and the loop hears of its end some time
after that: cancels, deadlines and the execution limit fall into each of these gaps.
"""

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from shoal_server.batching.execution import BatchExecution, Report
from shoal_testing.virtual_threads import VirtualThreads
from shoal_testing.virtual_time import virtual_loop

if TYPE_CHECKING:
    from asyncio import Future

T = TypeVar("T")


class FakeExecution(Generic[T]):
    """Work under way, from ``submit`` until ``done`` or ``abandon``."""

    def __init__(self, executor: "FakeExecutor", work: Callable[[], T], done: Callable[[T], None]) -> None:
        self.work: Any = work  # to the tests it is what it is, a BatchExecution
        self.submitted_s = virtual_loop().time()
        self.abandoned = False
        self._executor = executor
        self._done = done
        self._result: list[T] = []

    def abandon(self) -> None:
        assert self in self._executor.executions, "an execution is abandoned at most once, and before its end"
        self.abandoned = True
        self._executor.abandoned += 1
        self._executor.executions.remove(self)

    def run(self) -> None:
        """On the thread."""
        self._result.append(self.work())

    def finish(self) -> None:
        """On the loop, when word of the end has arrived."""
        if not self.abandoned:
            self._executor.executions.remove(self)
            self._done(self._result.pop())


class FakeExecutor:
    """``batching.executor.BatchExecutor``. The gaps are asked for anew for each piece of work."""

    def __init__(  # noqa: PLR0913 - a test names those that it is about
        self,
        threads: VirtualThreads,
        *,
        start_after_s: Callable[[], float] = lambda: 0.0,
        done_after_s: Callable[[], float] = lambda: 0.0,
        submitted: Callable[[Any], None] = lambda _work: None,
        quick: Callable[[], bool] = lambda: False,
        hangs: Callable[[Any], bool] = lambda _work: False,
    ) -> None:
        """``quick`` says whether the batch that is asked about would be over at once, unless it ``hangs``."""
        self.executions: list[FakeExecution[Any]] = []
        """Under way, that is neither ended as far as the loop knows nor abandoned."""
        self.submitted = 0
        self.abandoned = 0
        self._threads = threads
        self._start_after_s = start_after_s
        self._done_after_s = done_after_s
        self._on_submit = submitted
        self._quick = quick
        self._hangs = hangs
        self.learned = 0

    def is_quick(self, _form: object, _rows: int) -> bool:
        return self._quick()

    def learn(self, _form: object, _rows: int, _took_s: float) -> None:
        self.learned += 1

    def run_here(self, work: BatchExecution) -> Report | None:
        if not self._quick() or self._hangs(work):
            return None
        self._on_submit(work)
        self.learned += 1
        return work()

    def submit(self, work: Callable[[], T], done: Callable[[T], None]) -> FakeExecution[T]:
        self._on_submit(work)
        self.submitted += 1
        execution = FakeExecution(self, work, done)
        self.executions.append(execution)
        loop = virtual_loop()
        self._threads.start(
            execution.run,
            lambda: void(loop.call_later(self._done_after_s(), execution.finish)),
            after_s=self._start_after_s(),
        )
        return execution


class FakeJob(Generic[T]):
    """``lifecycle.ports.Job``."""

    def __init__(self) -> None:
        self.future: Future[T] = virtual_loop().create_future()

    def __await__(self) -> Generator[Any, None, T]:
        return self.future.__await__()

    def give_up(self, error: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class FakeWorkers:
    """``lifecycle.ports.Workers``: work that pauses on virtual time; it starts ``after_s()`` seconds late."""

    def __init__(self, threads: VirtualThreads, after_s: Callable[[], float] = lambda: 0.0) -> None:
        self._threads = threads
        self._after_s = after_s

    def post(self, deliver: Callable[[T], None], message: T) -> None:
        self._threads.loop.call_soon(deliver, message)

    def call(self, work: Callable[[], T]) -> FakeJob[T]:
        job: FakeJob[T] = FakeJob()
        future = job.future
        outcome: list[T | Exception] = []

        def run() -> None:
            try:
                outcome.append(work())
            except Exception as error:  # noqa: BLE001 - it is raised where the work is awaited
                outcome.append(error)

        def ended() -> None:
            result = outcome.pop()
            if future.done():
                return  # whoever asked has been cancelled
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)

        self._threads.start(run, ended, after_s=self._after_s())
        return job


def void(_value: object) -> None:
    """Drop a value, where a callback must not return one."""
