"""Case 6: no rows, as many as may be, and one more."""

import numpy as np
import pytest

from shoal_testing.at_rest import wait_until_held
from shoal_testing.caller import Array, Caller, request_of
from shoal_testing.gated import gated
from shoal_testing.refusals import assert_refused
from shoal_testing.server import RunningServer

MAX_ROWS = 64  # per batch, by default


def rows_of(count: int) -> Array:
    return np.arange(2 * count, dtype=np.float32).reshape(count, 2)


@pytest.mark.parametrize("count", [0, 1, MAX_ROWS - 1, MAX_ROWS, MAX_ROWS + 1, 10 * MAX_ROWS])
def test_a_request_of_any_number_of_rows_is_answered_where_the_owner_sets_no_limit(caller: Caller, count: int) -> None:
    np.testing.assert_array_equal(caller.infer(request_of("pair", x=rows_of(count))).array(), rows_of(count))


def test_a_declared_limit_is_kept_and_named(caller: Caller) -> None:
    np.testing.assert_array_equal(caller.infer(request_of("limited", x=rows_of(4))).array(), rows_of(4))
    refused = caller.infer(request_of("limited", x=rows_of(5)))
    assert_refused(refused, "INVALID_ARGUMENT", "must be <= 4", "'limited'", "got 5")


def test_an_oversize_request_is_computed_in_parts_and_those_behind_it_are_served(
    server: RunningServer, caller: Caller
) -> None:
    with gated(server, "pair") as gate:
        sizes = [1, 2, 3, 2 * MAX_ROWS, 4, 0, 5]
        calls = [caller.begin(request_of("pair", x=rows_of(sizes[0])).SerializeToString())]
        gate.wait_for_run()
        for size in sizes[1:]:
            calls.append(caller.begin(request_of("pair", x=rows_of(size)).SerializeToString()))
            wait_until_held(server, requests=len(calls))
        gate.open()
        for size, call in zip(sizes, calls, strict=True):
            np.testing.assert_array_equal(call.outcome().array(), rows_of(size))
        executed = [len(run) for run in gate.runs]
    assert sum(executed) == sum(sizes), executed
    assert max(executed) == MAX_ROWS, executed


@pytest.mark.parametrize("model", ["text", "vector", "types", "gather"])
def test_no_rows_in_are_no_rows_out(caller: Caller, model: str) -> None:
    match model:
        case "text":
            request = request_of(model, x=np.empty((0, 1), object))
        case "vector":
            request = request_of(model, x=np.empty(0, np.float32))
        case "gather":
            request = request_of(model, ids=np.empty((0, 3), np.int64))
        case _:
            kinds = {"bool": "?", "fp16": "f2", "fp32": "f4", "fp64": "f8", "bytes": "O"}
            kinds |= {f"{sign}int{8 * size}": f"{sign or 'i'}{size}" for sign in ("", "u") for size in (1, 2, 4, 8)}
            request = request_of(model, **{f"in_{name}": np.empty((0, 2), kind) for name, kind in kinds.items()})
    answer = caller.infer(request).answer
    assert all(output.shape[0] == 0 for output in answer.outputs)
    assert all(raw == b"" for raw in answer.raw_output_contents)
