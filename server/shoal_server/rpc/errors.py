"""The one table from errors to statuses."""

from math import ceil
from typing import Final

from shoal_server import errors
from shoal_server.errors import ExecutionFailed, ShoalError
from shoal_server.transport.port import Metadata, Status

INTERNAL_TEXT: Final = "internal error"
MOST_CHARACTERS: Final = 600
"""Of a text: it travels in the trailers, where a character takes up to 12 bytes, and clients take 8 KiB of them all."""

STATUS: Final = "grpc-status"
"""The trailer that has the number of a status; where one of several answers failed, its parameter."""
PUSHBACK: Final = "grpc-retry-pushback-ms"
"""The trailer that tells a client's retry policy when to try again, or by a negative number never to (gRFC A6)."""
MOST_PUSHBACK_S: Final = 60.0

STATUSES: Final[dict[type[ShoalError], Status]] = {
    errors.InvalidRequest: Status.INVALID_ARGUMENT,
    errors.NotFound: Status.NOT_FOUND,
    errors.Unsupported: Status.UNIMPLEMENTED,
    errors.Overloaded: Status.RESOURCE_EXHAUSTED,
    errors.Unavailable: Status.UNAVAILABLE,
    errors.DeadlineExceeded: Status.DEADLINE_EXCEEDED,
    errors.Cancelled: Status.CANCELLED,
    errors.Unauthenticated: Status.UNAUTHENTICATED,
    errors.PermissionDenied: Status.PERMISSION_DENIED,
    errors.PreconditionFailed: Status.FAILED_PRECONDITION,
    errors.Conflict: Status.ABORTED,
    errors.ExecutionFailed: Status.INTERNAL,
    errors.NotFinite: Status.OUT_OF_RANGE,
    errors.LoadFailed: Status.INVALID_ARGUMENT,
    errors.InternalError: Status.INTERNAL,
}


def status_of(error: ShoalError) -> tuple[Status, str]:
    """Return the status and the text that a caller sees; the text of a bug of ours stays in the log."""
    if isinstance(error, errors.InternalError):
        return Status.INTERNAL, INTERNAL_TEXT
    text = str(error)
    if len(text) > MOST_CHARACTERS:
        text = text[: MOST_CHARACTERS - 1] + "…"
    if isinstance(error, ExecutionFailed) and error.caller_at_fault:
        return Status.INVALID_ARGUMENT, text
    return STATUSES[type(error)], text


def pushback_ms(error: ShoalError) -> int | None:
    """Return when to try again, in milliseconds, -1 for never, None where the error says nothing of it."""
    if not isinstance(error, errors.Overloaded) or error.retry_after_s is None:
        return None
    return milliseconds(error.retry_after_s)


def milliseconds(retry_after_s: float) -> int:
    """Return a time as the push-back has it: -1 for never."""
    return -1 if retry_after_s == errors.Overloaded.NEVER else ceil(min(retry_after_s, MOST_PUSHBACK_S) * 1e3)


def trailers_of(error: ShoalError) -> Metadata:
    """Return the metadata that goes with an error's status."""
    wait_ms = pushback_ms(error)
    return () if wait_ms is None else ((PUSHBACK, str(wait_ms)),)
