"""How a request to one model version ended: a closed set, for whoever counts."""

from enum import Enum
from typing import Final

from shoal_server import errors
from shoal_server.errors import ExecutionFailed, ShoalError


class Outcome(Enum):
    """What became of a request, by who can mend it."""

    OK = "ok"
    INVALID = "invalid"  # the request does not fit the model, or the model's runtime blames its values
    OVERLOADED = "overloaded"
    UNAVAILABLE = "unavailable"
    DEADLINE = "deadline"
    CANCELLED = "cancelled"
    EXECUTION_FAILED = "execution_failed"
    NOT_FINITE = "not_finite"  # the guard against NaN kept the answer back
    ABANDONED = "abandoned"  # its batch ran past the execution limit
    INTERNAL = "internal"


_OUTCOMES: Final[dict[type[ShoalError], Outcome]] = {
    errors.InvalidRequest: Outcome.INVALID,
    errors.Unsupported: Outcome.INVALID,
    errors.Overloaded: Outcome.OVERLOADED,
    errors.Unavailable: Outcome.UNAVAILABLE,
    errors.DeadlineExceeded: Outcome.DEADLINE,
    errors.Cancelled: Outcome.CANCELLED,
    errors.ExecutionFailed: Outcome.EXECUTION_FAILED,
    errors.NotFinite: Outcome.NOT_FINITE,
}


def outcome_of(error: ShoalError) -> Outcome:
    """Return how a request ended that was answered with this error."""
    if isinstance(error, ExecutionFailed) and error.caller_at_fault:
        return Outcome.INVALID
    return _OUTCOMES.get(type(error), Outcome.INTERNAL)
