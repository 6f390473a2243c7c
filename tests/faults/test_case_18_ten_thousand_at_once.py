"""Case 18: 10,000 calls at once on one connection: each gets its own rows, or is told that there are too many."""

from collections import Counter

import numpy as np
import pytest

from shoal_testing.caller import Caller, request_of
from shoal_testing.refusals import assert_refused

CALLS = 10_000
PATIENCE_S = 60.0


@pytest.mark.timeout(120)  # where the client's side is Python too, it takes seconds
def test_ten_thousand_calls_at_once_are_each_answered(caller: Caller) -> None:
    rows = np.stack([np.arange(CALLS), -np.arange(CALLS)], axis=1).astype(np.float32)
    messages = [request_of("pair", x=row[None]).SerializeToString() for row in rows]
    calls = [caller.begin(message, timeout_s=PATIENCE_S) for message in messages]
    statuses: Counter[str] = Counter()
    for row, call in zip(rows, calls, strict=True):
        outcome = call.outcome(PATIENCE_S)
        statuses[outcome.status] += 1
        if outcome.status == "OK":
            np.testing.assert_array_equal(outcome.array(), row[None])
        else:
            # The model's line is bounded: 8,192 requests, by default.
            assert_refused(outcome, "RESOURCE_EXHAUSTED", "'pair' is overloaded", "requests are waiting")
    assert statuses["OK"] >= CALLS // 2, statuses
    assert sum(statuses.values()) == CALLS
