"""The threads that block so that the loop never does: one pool runs batches, another loads models."""

import asyncio
import threading
from collections.abc import Callable, Generator
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

from shoal_server.mailbox import Mailbox

T = TypeVar("T")


class _Work:
    """One piece of work: it ends or is abandoned, whichever takes the one token first (``list.pop`` is atomic)."""

    __slots__ = ("_abandoned", "_threads", "_token", "done", "work")

    def __init__(self, threads: "Threads", work: Callable[[], Any], done: Callable[[Any], None]) -> None:
        self._threads = threads
        self.work = work
        self.done = done
        self._abandoned = False
        self._token: list[None] = [None]

    def abandon(self) -> None:
        """Give up on it; unless it is over by now, its thread ends with it, and another takes its place."""
        self._abandoned = True
        if self._take_token():
            self._threads.replace_one()

    def end(self) -> bool:
        """The work is over; return whether its thread goes on. On the thread."""
        return self._take_token()

    def finish(self, result: object) -> None:
        """Report the result; on the loop. Who is told may have hold of this, so he is forgotten."""
        done, self.done = self.done, _nobody
        if not self._abandoned:
            done(result)

    def _take_token(self) -> bool:
        try:
            self._token.pop()
        except IndexError:
            return False
        return True


def _nobody(_result: object) -> None:
    """Hears of what was reported before."""


class Threads:
    """A fixed number of daemon threads. Daemons, because a session that never returns must not keep the process alive.

    ``submit`` (batching's Executor) and ``call`` are for the mailbox's loop.
    """

    def __init__(self, count: int, name: str, mailbox: Mailbox) -> None:
        self.count = count
        self._name = name
        self._mailbox = mailbox
        self._queue: SimpleQueue[_Work | None] = SimpleQueue()
        self._at_work: set[_Work] = set()
        for _ in range(count):
            self.replace_one()

    @property
    def busy(self) -> bool:
        """Whether a thread is at work, be it on what was abandoned."""
        return bool(self._at_work)

    def submit(self, work: Callable[[], T], done: Callable[[T], None]) -> _Work:
        """Run ``work``, which must not raise, on a thread; then ``done`` with its result on the loop."""
        item = _Work(self, work, done)
        self._queue.put(item)
        return item

    def call(self, work: Callable[[], T]) -> "Job[T]":
        """Do ``work`` on a thread; what is returned can be awaited for its result."""
        return Job(self, work, self._mailbox.loop.create_future())

    def post(self, deliver: Callable[[T], None], message: T) -> None:
        """Call ``deliver(message)`` on the loop; from one of the threads, before whatever it ends later.

        Raises:
            RuntimeError: the loop is closed.
        """
        self._mailbox.post(deliver, message)

    def replace_one(self) -> None:
        """Start one more thread."""
        threading.Thread(target=self._serve, name=self._name, daemon=True).start()

    def close(self) -> None:
        """Let every idle thread end; busy ones end with their work."""
        for _ in range(self.count):
            self._queue.put(None)

    def _serve(self) -> None:
        while (item := self._queue.get()) is not None:
            self._at_work.add(item)
            result = item.work()
            self._at_work.discard(item)
            if not item.end():
                return
            try:
                self._mailbox.post(item.finish, result)
            except RuntimeError:  # the loop is closed: nobody is left to hear of it
                return
            del item, result  # a thread that waits must not keep the last batch in memory


class Job(Generic[T]):
    """Implements ``lifecycle.ports.Job``: awaited, it returns what the work returns, or raises what it raises."""

    def __init__(self, threads: Threads, work: Callable[[], T], future: "asyncio.Future[T]") -> None:
        self._future = future

        def attempt() -> tuple[T | None, BaseException | None]:
            try:
                return work(), None
            except BaseException as error:  # noqa: BLE001 - whatever it is, it is the caller's
                return None, error

        self._work = threads.submit(attempt, self._done)

    def give_up(self, error: Exception) -> None:
        """Raise ``error`` where the job is awaited, now; its thread is replaced, its result dropped. On the loop."""
        if not self._future.done():
            self._work.abandon()
            self._future.set_exception(error)

    def _done(self, outcome: tuple[T | None, BaseException | None]) -> None:
        result, error = outcome
        if self._future.done():
            return
        if isinstance(error, Exception):
            self._future.set_exception(error)
        elif error is not None:  # what would end a thread, sys.exit() say, must not end the loop
            self._future.set_exception(RuntimeError(repr(error)))
        else:
            self._future.set_result(result)  # type: ignore[arg-type] # without an error there is a T

    def __await__(self) -> Generator[Any, None, T]:
        return self._future.__await__()
