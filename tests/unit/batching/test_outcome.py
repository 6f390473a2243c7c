import pytest

from shoal_server.batching.outcome import Outcome, outcome_of
from shoal_server.errors import (
    Bound,
    Cancelled,
    DeadlineExceeded,
    ExecutionFailed,
    InternalError,
    InvalidRequest,
    Overloaded,
    ShoalError,
    Unavailable,
)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (InvalidRequest("x"), Outcome.INVALID),
        (Overloaded("x", Bound.ROWS), Outcome.OVERLOADED),
        (Unavailable("x"), Outcome.UNAVAILABLE),
        (DeadlineExceeded("x"), Outcome.DEADLINE),
        (Cancelled("x"), Outcome.CANCELLED),
        (ExecutionFailed("x"), Outcome.EXECUTION_FAILED),
        (ExecutionFailed("x", caller_at_fault=True), Outcome.INVALID),
        (InternalError("x"), Outcome.INTERNAL),
        (ShoalError("x"), Outcome.INTERNAL),
    ],
)
def test_every_error_has_one_outcome(error: ShoalError, outcome: Outcome) -> None:
    assert outcome_of(error) is outcome
