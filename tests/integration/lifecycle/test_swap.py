"""Swaps over the wire: what is told, what answers, and what a rollback brings back."""

import numpy as np

from shoal_testing.caller import request_of
from shoal_testing.operator import Operator


def answer(caller: Operator, version: str = "") -> tuple[int, float]:
    """Return which version answered, and what it added."""
    request = request_of("m", x=np.zeros((1, 2), np.float32))
    request.model_version = version
    outcome = caller.infer(request)
    return int(outcome.answer.model_version), float(outcome.array()[0, 0])


def test_a_swap_tells_each_step_and_the_old_version_stays_warm(operator: Operator) -> None:
    assert answer(operator) == (1, 1.0)
    told = operator.swap("m", 2)
    assert told.begun == told.ended == ["DESCRIBE", "LOAD", "WARM_UP", "RECORD", "PUBLISH"]
    result = told.done
    assert (result.previous_version, result.current_version, result.changed, result.recorded) == (1, 2, True, True)
    assert answer(operator) == (2, 2.0)
    assert answer(operator, "previous") == answer(operator, "1") == (1, 1.0)
    assert operator.states("m") == {1: "READY", 2: "READY"}
