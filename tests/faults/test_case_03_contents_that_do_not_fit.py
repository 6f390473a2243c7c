"""Case 3: bytes or elements that are not what shape and type ask for."""

import numpy as np
import pytest

from shoal.inference import grpc_service_pb2 as pb
from shoal_testing.caller import Caller, request_of
from shoal_testing.refusals import assert_refused


def with_raw(model: str, datatype: str, shape: list[int], raw: bytes) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name=model, raw_input_contents=[raw])
    request.inputs.add(name="x", datatype=datatype, shape=shape)
    return request


@pytest.mark.parametrize("size", [0, 1, 15, 17, 32, 1 << 20])
def test_raw_bytes_that_are_not_shape_times_type_are_refused_with_want_and_got(caller: Caller, size: int) -> None:
    outcome = caller.infer(with_raw("pair", "FP32", [2, 2], bytes(size)))
    assert_refused(outcome, "INVALID_ARGUMENT", "'x'", "[2, 2]", "16 bytes", f"got {size}")


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", ["'x'", "2", "cannot hold"]),
        (b"\x00\x00\x00", ["'x'", "cannot hold"]),
        (b"\x01\x00\x00\x00a", ["'x'", "cannot hold"]),
        (b"\x01\x00\x00\x00a\x01\x00\x00\x00", ["'x'", "element 1", "longer"]),
        (b"\x01\x00\x00\x00a\x01\x00", ["'x'"]),
        (b"\xff\xff\xff\xff" + b"a" * 12, ["'x'", "element 0", "longer"]),
        (b"\x00\x00\x00\x00\xff\xff\xff\x7f", ["'x'", "element 1", "longer"]),
        (b"\x00\x00\x00\x80" * 4, ["'x'", "element 0", "longer"]),
        (bytes(12), ["'x'", "takes 2", "4 bytes more"]),
        (b"\x04\x00\x00\x00\x00\x00\x00\x00", ["'x'", "takes 2", "got 1"]),
        (b"\x00\x00\x00\x00\x03\x00\x00\x00\xed\xa0\x80", ["'x'", "element 1", "UTF-8"]),
        (b"\x02\x00\x00\x00\xc0\x80\x00\x00\x00\x00", ["'x'", "element 0", "UTF-8"]),
        (b"\x04\x00\x00\x00\xf4\x90\x80\x80\x00\x00\x00\x00", ["'x'", "element 0", "UTF-8"]),
        (b"\x01\x00\x00\x00\xe9\x00\x00\x00\x00", ["'x'", "element 0", "UTF-8"]),
    ],
)
def test_strings_whose_lengths_or_letters_are_wrong_are_refused(caller: Caller, raw: bytes, words: list[str]) -> None:
    assert_refused(caller.infer(with_raw("text", "BYTES", [2, 1], raw)), "INVALID_ARGUMENT", *words)


def test_a_boolean_that_is_neither_0_nor_1_is_refused(caller: Caller) -> None:
    request = request_of("masked", x=np.ones((1, 3), np.float32), keep=np.array([[True, True, True]]))
    request.raw_input_contents[1] = b"\x01\x02\xff"
    assert_refused(caller.infer(request), "INVALID_ARGUMENT", "'keep'", "BOOL", "0 or 1")


@pytest.mark.parametrize("count", [0, 2, 3])
def test_the_number_of_raw_entries_is_the_number_of_inputs(caller: Caller, count: int) -> None:
    request = request_of("two", a=np.ones((1, 3), np.float32))
    del request.raw_input_contents[:]
    request.raw_input_contents.extend([bytes(12)] * count)
    want = "'a'" if not count else "expected 1 entries"
    assert_refused(caller.infer(request), "INVALID_ARGUMENT", want)


def test_raw_and_typed_contents_together_are_refused(caller: Caller) -> None:
    request = request_of("pair", x=np.ones((1, 2), np.float32))
    request.inputs[0].contents.SetInParent()
    assert_refused(caller.infer(request), "INVALID_ARGUMENT", "'x'", "contents field must not be specified")


def typed(model: str, datatype: str, shape: list[int]) -> tuple[pb.ModelInferRequest, pb.InferTensorContents]:
    request = pb.ModelInferRequest(model_name=model)
    tensor = request.inputs.add(name="x", datatype=datatype, shape=shape)
    return request, tensor.contents


FILLED = {
    "too few": pb.InferTensorContents(fp32_contents=[1]),
    "too many": pb.InferTensorContents(fp32_contents=[1, 2, 3]),
    "none": pb.InferTensorContents(),
    "of another type": pb.InferTensorContents(int_contents=[1, 2]),
    "of two types": pb.InferTensorContents(fp32_contents=[1, 2], bool_contents=[True]),
}


@pytest.mark.parametrize("filled", FILLED.values(), ids=FILLED)
def test_typed_elements_that_do_not_fit_are_refused(caller: Caller, filled: pb.InferTensorContents) -> None:
    request, contents = typed("pair", "FP32", [1, 2])
    contents.CopyFrom(filled)
    assert_refused(caller.infer(request), "INVALID_ARGUMENT", "'x'")


@pytest.mark.parametrize(
    ("datatype", "number", "limits"),
    [
        ("INT8", 128, "[-128, 127]"),
        ("INT8", -129, "[-128, 127]"),
        ("INT16", 40_000, "[-32768, 32767]"),
        ("UINT8", 256, "[0, 255]"),
        ("UINT16", 2**32 - 1, "[0, 65535]"),
    ],
)
def test_a_number_that_its_type_cannot_hold_is_refused_and_never_wrapped(
    caller: Caller, datatype: str, number: int, limits: str
) -> None:
    request = pb.ModelInferRequest(model_name="types")
    tensor = request.inputs.add(name=f"in_{datatype.lower()}", datatype=datatype, shape=[1, 2])
    elements = tensor.contents.uint_contents if datatype[0] == "U" else tensor.contents.int_contents
    elements.extend([0, number])
    outcome = caller.infer(request)
    assert_refused(outcome, "INVALID_ARGUMENT", f"'in_{datatype.lower()}'", limits, str(number))


@pytest.mark.parametrize("element", [b"\xff", b"\xed\xb0\x80", b"ok\xf0\x9f"])
def test_typed_strings_that_are_not_utf_8_are_refused(caller: Caller, element: bytes) -> None:
    request, contents = typed("text", "BYTES", [1, 1])
    contents.bytes_contents.append(element)
    assert_refused(caller.infer(request), "INVALID_ARGUMENT", "'x'", "element 0", "UTF-8")
