"""The port to the threads that run batches."""

from collections.abc import Callable
from typing import Protocol, TypeVar

from shoal_server.batching.execution import BatchExecution, Report

T = TypeVar("T")


class Execution(Protocol):
    """One piece of work under way."""

    def abandon(self) -> None:
        """Give up on it: its thread is replaced, and ``done`` will not be called. Loop only."""
        ...


class Executor(Protocol):
    """Runs work off the loop."""

    def submit(self, work: Callable[[], T], done: Callable[[T], None]) -> Execution:
        """Run ``work`` on a thread, then ``done`` with its result on the loop. ``work`` must not raise."""
        ...


class BatchExecutor(Executor, Protocol):
    """Runs batches, and knows which need no thread. ``form`` is that of ``BatchExecution``. Loop only."""

    def run_here(self, work: BatchExecution) -> Report | None:
        """Run a batch now, where it is called, if it is known to be quick; otherwise return None and do nothing."""
        ...

    def is_quick(self, form: object, rows: int) -> bool:
        """Whether batches of about so many rows are over sooner than a thread could take them up."""
        ...

    def learn(self, form: object, rows: int, took_s: float) -> None:
        """Take note of a batch that was run on the loop."""
        ...
