"""The port to the threads that run batches."""

from collections.abc import Callable
from typing import Protocol, TypeVar

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
