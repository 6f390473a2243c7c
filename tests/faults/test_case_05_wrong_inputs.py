"""Case 5: inputs and outputs that the model does not have, has not got, or got twice."""

from collections.abc import Callable

import numpy as np
import pytest

from shoal.inference import grpc_service_pb2 as pb
from shoal_testing.at_rest import wait_until_held
from shoal_testing.caller import Caller, add_input, request_of
from shoal_testing.gated import gated
from shoal_testing.refusals import assert_refused
from shoal_testing.server import RunningServer

ROW = np.ones((1, 3), np.float32)


def _with_extra(name: str) -> pb.ModelInferRequest:
    request = request_of("two", a=ROW, b=ROW)
    add_input(request, name, ROW)
    return request


WRONG: dict[str, tuple[Callable[[], pb.ModelInferRequest], list[str]]] = {
    "no input at all": (lambda: request_of("two"), ["missing", "['a', 'b']"]),
    "one missing": (lambda: request_of("two", b=ROW), ["'a' is missing", "['a', 'b']"]),
    "one too many": (lambda: _with_extra("c"), ["unknown input 'c'", "['a', 'b']"]),
    "one twice": (lambda: _with_extra("b"), ["'b'", "twice"]),
    "one misnamed": (lambda: request_of("two", a=ROW, B=ROW), ["unknown input 'B'"]),
    "a name of 10 kB": (lambda: _with_extra("n" * 10_000), ["unknown input 'nnn", "['a', 'b']"]),
    "a name of control characters": (lambda: _with_extra("a\0\n\x1b[31m"), [r"unknown input 'a\x00\n\x1b[31m'"]),
    "a nameless one": (lambda: _with_extra(""), ["unknown input ''"]),
    "wrong element type": (
        lambda: request_of("two", a=ROW.astype(np.float64), b=ROW),
        ["'a' takes FP32, got FP64"],
    ),
    "wrong rank": (lambda: request_of("two", a=ROW[0], b=ROW), ["'a'", "[-1, 3]", "got [3]"]),
    "wrong width": (lambda: request_of("two", a=ROW[:, :2], b=ROW), ["'a'", "[-1, 3]", "got [1, 2]"]),
    "unknown output": (lambda: request_of("two", "sum", "product", a=ROW, b=ROW), ["unknown output 'product'"]),
    "an output twice": (lambda: request_of("two", "sum", "sum", a=ROW, b=ROW), ["output", "twice"]),
    "an output of 10 kB": (lambda: request_of("two", "o" * 10_000, a=ROW, b=ROW), ["unknown output 'ooo"]),
}


@pytest.mark.parametrize(("make", "words"), WRONG.values(), ids=WRONG)
def test_wrong_inputs_and_outputs_are_refused_by_name(
    caller: Caller, make: Callable[[], pb.ModelInferRequest], words: list[str]
) -> None:
    assert_refused(caller.infer(make()), "INVALID_ARGUMENT", *words)


@pytest.mark.parametrize("datatype", ["", "FLOAT", "fp32", "FP32\0", "STRING", "x" * 10_000])
def test_an_element_type_that_does_not_exist_is_refused(caller: Caller, datatype: str) -> None:
    request = request_of("pair", x=np.ones((1, 2), np.float32))
    request.inputs[0].datatype = datatype
    assert_refused(caller.infer(request), "INVALID_ARGUMENT", "'x' takes FP32", "unknown type")
    del request.raw_input_contents[:]
    request.inputs[0].contents.fp32_contents.extend([1, 2])
    assert_refused(caller.infer(request), "INVALID_ARGUMENT", "'x' takes FP32", "unknown type")


def test_a_batch_that_is_forming_is_untouched_by_what_is_refused_beside_it(
    server: RunningServer, caller: Caller
) -> None:
    with gated(server, "two") as gate:
        rows = [np.full((1, 3), number, np.float32) for number in range(6)]
        first = caller.begin(request_of("two", a=rows[0], b=rows[0]).SerializeToString())
        gate.wait_for_run()
        calls = []
        for row in rows[1:]:
            calls.append(caller.begin(request_of("two", a=row, b=row).SerializeToString()))
            for make, words in WRONG.values():
                assert_refused(caller.infer(make()), "INVALID_ARGUMENT", *words)
        wait_until_held(server, requests=6, waiting=5)
        gate.open()
        for row, call in zip(rows, [first, *calls], strict=True):
            np.testing.assert_array_equal(call.outcome().array(), 2 * row)
        assert [len(run) for run in gate.runs] == [1, 5], "the five were one batch"


def test_inputs_that_disagree_about_the_rows_fail_alone(server: RunningServer, caller: Caller) -> None:
    """The model may broadcast them or refuse; either way nobody else is in that batch."""
    with gated(server, "two") as gate:
        first = caller.begin(request_of("two", a=ROW, b=ROW).SerializeToString())
        gate.wait_for_run()
        odd = caller.begin(request_of("two", a=ROW.repeat(2, 0), b=ROW.repeat(3, 0)).SerializeToString())
        neighbour = caller.begin(request_of("two", a=ROW, b=ROW).SerializeToString())
        wait_until_held(server, requests=3, waiting=2)
        gate.open()
        np.testing.assert_array_equal(first.outcome().array(), 2 * ROW)
        np.testing.assert_array_equal(neighbour.outcome().array(), 2 * ROW)
        assert_refused(odd.outcome(), "INVALID_ARGUMENT")
