"""Ending a call or a stream's request with an error, so that a bug of ours can be found by what its caller was told."""

import logging
from typing import Final, Protocol
from uuid import uuid4

from shoal_server.errors import Bound, InternalError, Overloaded, ShoalError
from shoal_server.rpc.errors import INTERNAL_TEXT, milliseconds, status_of, trailers_of
from shoal_server.transport.port import Call, Metadata, Status, Trace

_log = logging.getLogger(__name__)

TRACE_TRAILER: Final = "shoal-trace-id"
"""The trailer of an INTERNAL that is our fault: the log has the same id beside what went wrong."""

MOST_HELD_S: Final = 0.02
"""For how long at most calls are refused because one like them was: whatever changes is noticed within it."""
_OF_THE_WAIT: Final = 1 / 4


class Failing(Protocol):
    """A call or a stream."""

    @property
    def method(self) -> str:
        """The full name."""
        ...

    @property
    def trace(self) -> Trace | None:
        """Its record, if somebody keeps one."""
        ...

    def fail(self, status: Status, text: str, trailers: Metadata = ()) -> None:
        """End it."""
        ...


def fail(call: Failing, error: ShoalError) -> None:
    """End a call with an error's status."""
    if isinstance(error, InternalError):
        fail_by_bug(call, error)
    else:
        call.fail(*status_of(error), trailers_of(error))


def hold(call: Call, error: Overloaded, whose: str) -> None:
    """Have calls like one that was just refused answered alike for a moment, where the transport can do that.

    ``whose`` says what they have in common beside what they ask for: see ``Call.hold``.
    """
    again, before_s = error.again, None
    if again is None:
        return
    for_s = again.alike_s
    if error.bound is Bound.DEADLINE:
        if call.deadline_s is None:
            return  # its own deadline is the model's default, and others' are not
        # Who comes later and has as much time passes; who has less would pass only if all went faster than foretold.
        before_s, for_s = call.deadline_s + again.alike_s, again.retry_after_s * _OF_THE_WAIT
    status, text = status_of(error)
    call.hold(whose, status, text, milliseconds(again.retry_after_s), before_s, min(for_s, MOST_HELD_S), again.counted)


def fail_by_bug(call: Failing, error: Exception) -> None:
    """End a call that met a bug of ours."""
    call.fail(Status.INTERNAL, INTERNAL_TEXT, ((TRACE_TRAILER, reported(call.method, error, call.trace)),))


def reported(method: str, error: Exception, trace: Trace | None) -> str:
    """Write a bug of ours to the log; return the id that stands there: the trace's, or one made for this alone."""
    trace_id = uuid4().hex if trace is None else trace.trace_id
    extra = {"trace_id": trace_id} if trace is None else {"trace_id": trace_id, "span_id": trace.span_id}
    # An InternalError says what happened elsewhere; anything else happened here, and where is worth knowing.
    raised = None if isinstance(error, InternalError) else error
    _log.error("%s failed, trace %s: %s", method, trace_id, raised or error, extra=extra, exc_info=raised)
    return trace_id
