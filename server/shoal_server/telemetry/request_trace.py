"""What is remembered of a traced request until its spans are made: plain fields, filled as things happen."""

import time
from collections.abc import Callable, Mapping, Sequence
from random import Random
from threading import Lock
from typing import NamedTuple

from shoal_server.events import BatchEnded, OperationEnded
from shoal_server.transport.port import Status


class BatchTrace(NamedTuple):
    """A batch with traced members. The shifts turn its clocks into nanoseconds since 1970."""

    event: BatchEnded
    trace_id: int
    span_id: int
    monotonic_shift_ns: int
    perf_shift_ns: int


class OperationTrace(NamedTuple):
    """An operator's change of a model; the shift is as for a batch."""

    event: OperationEnded
    trace_id: int
    monotonic_shift_ns: int


class RequestTrace:
    """One traced request; a ``Trace`` of the transport's port.

    Ends once: whoever says so first is right, whichever thread it is on. A request that left its line for a batch is
    complete when the batch's end has been told too, and then, as any other when it ends, is given to ``done``.
    """

    __slots__ = (
        "_completes",
        "_done",
        "_ends",
        "_random",
        "attributes",
        "batch",
        "dispatched",
        "ended_ns",
        "inside",
        "name",
        "number",
        "parent_id",
        "peer",
        "started_ns",
        "state",
        "status",
        "text",
        "trace_number",
    )

    def __init__(  # noqa: PLR0913 - the fields of a span
        self,
        name: str,
        trace_number: int,
        parent_id: int,
        *,
        random: Random,
        done: Callable[["RequestTrace"], None],
        peer: str = "",
        state: str = "",
        inside: bool = False,
        number: int = 0,
    ) -> None:
        """Take the ids as numbers, 0 for no parent and for one to be drawn; ``state`` is the caller's tracestate."""
        self.name = name
        self.trace_number = trace_number
        self.number = number or new_span_id(random)
        self.parent_id = parent_id
        self.peer = peer
        self.state = state
        self.inside = inside
        self.attributes: dict[str, str | int] = {}
        self.dispatched = False
        self.batch: BatchTrace | None = None
        self.status: Status | None = None
        self.text = ""
        self.started_ns = time.time_ns()
        self.ended_ns = 0
        self._random = random
        self._done = done
        # Each is taken once; not to wait for, but to have only one thread go on. The garbage collector knows no locks.
        self._ends = Lock()
        self._completes = Lock()

    @property
    def trace_id(self) -> str:
        """The trace's id in hexadecimal."""
        return f"{self.trace_number:032x}"

    @property
    def span_id(self) -> str:
        """The span's id in hexadecimal."""
        return f"{self.number:016x}"

    def note(self, known: Mapping[str, str | int]) -> None:
        """Add attributes."""
        self.attributes.update(known)

    def inner(self, name: str) -> "RequestTrace":
        """Return a span within this one."""
        return RequestTrace(
            name, self.trace_number, self.number, random=self._random, done=self._done, state=self.state, inside=True
        )

    def end(self, status: Status, text: str) -> None:
        """The request is over."""
        if not self._ends.acquire(blocking=False):
            return
        self.text = text
        self.ended_ns = time.time_ns()
        self.status = status
        # One that is dispatched ends on any thread; one that is not ends on the loop, where it would be dispatched.
        if not self.dispatched:
            self._complete()

    def batched(self, batch: BatchTrace) -> None:
        """The batch that it was dispatched in is over; on the loop."""
        self.batch = batch
        self.dispatched = False
        if self.status is not None:
            self._complete()

    def _complete(self) -> None:
        # A batch that is given up ends on the loop while its thread may be answering: the first of both completes it.
        if self._completes.acquire(blocking=False):
            self._done(self)


Record = RequestTrace | BatchTrace | OperationTrace
"""What waits to be made into spans."""


def new_trace_id(random: Random) -> int:
    """Return an id that is not 0."""
    return random.getrandbits(128) or 1


def new_span_id(random: Random) -> int:
    """Return an id that is not 0."""
    return random.getrandbits(64) or 1


def members_of(event: BatchEnded) -> Sequence[RequestTrace]:
    """Return the traced members of a batch."""
    return [member for member in event.members if isinstance(member, RequestTrace)]
