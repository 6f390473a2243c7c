"""Arrays to and from the protocol's contents."""

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from shoal.inference import grpc_service_pb2 as pb
from shoal_client.datatypes import TYPES, Array, datatype_of
from shoal_client.errors import InvalidInput, ProtocolError
from shoal_client.tensors import outputs_of, to_raw

NUMBERS = [name for name in TYPES if name not in ("BYTES", "BF16")]
TYPED = [name for name, datatype in TYPES.items() if datatype.contents]


def answer(datatype: str, shape: tuple[int, ...], raw: bytes | None = None, **contents: Any) -> pb.ModelInferResponse:  # noqa: ANN401 - a list of any type
    response = pb.ModelInferResponse(model_name="m")
    output = response.outputs.add(name="y", datatype=datatype, shape=shape)
    for field, values in contents.items():
        getattr(output.contents, field).extend(values)
    if raw is not None:
        response.raw_output_contents.append(raw)
    return response


def sent_back(array: Array) -> Array:
    datatype = datatype_of(array)
    assert datatype is not None
    return outputs_of(answer(datatype.name, array.shape, to_raw("x", array, datatype)))["y"]


@given(st.data())
def test_numbers_come_back_bit_by_bit_in_any_layout(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(NUMBERS))
    dtype = TYPES[name].dtype.newbyteorder(data.draw(st.sampled_from("<>")))
    array = data.draw(nps.arrays(dtype, nps.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)))
    if data.draw(st.booleans()):
        array = array.T
    back = sent_back(array)
    assert back.shape == array.shape
    assert back.dtype == TYPES[name].dtype
    assert back.tobytes() == array.astype(TYPES[name].dtype).tobytes()


def test_bf16_comes_back_as_what_ml_dtypes_calls_it() -> None:
    array = np.array([[1.5, -0.0, np.nan, np.inf]], ml_dtypes.bfloat16)
    back = sent_back(array)
    assert back.dtype == ml_dtypes.bfloat16
    assert back.view(np.uint16).tolist() == array.view(np.uint16).tolist()


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_bytes_come_back_whatever_is_in_them(texts: list[bytes]) -> None:
    array = np.empty(len(texts), object)
    array[:] = texts
    assert sent_back(array).tolist() == texts


def test_text_travels_as_utf_8() -> None:
    assert sent_back(np.array([["pässi", "🐟"]])).tolist() == [["pässi".encode(), "🐟".encode()]]
    assert sent_back(np.array(["a", b"b"], object)).tolist() == [b"a", b"b"]
    assert sent_back(np.array([b"a", b"bc"])).tolist() == [b"a", b"bc"]


def test_objects_that_are_no_text_are_refused_by_name() -> None:
    with pytest.raises(InvalidInput, match="input 'x' holds int objects; BYTES takes str and bytes, got 7"):
        to_raw("x", np.array(["a", 7], object), TYPES["BYTES"])


@pytest.mark.parametrize("dtype", ["c8", "M8[s]", "m8[s]", "f16", "V3"])
def test_what_the_protocol_has_no_type_for_is_known(dtype: str) -> None:
    assert datatype_of(np.zeros(1, dtype)) is None


@pytest.mark.parametrize("name", TYPED)
def test_typed_contents_are_read_as_well(name: str) -> None:
    datatype = TYPES[name]
    values: list[Any]
    if name == "BYTES":
        values = [b"a", b"\xff\0"]
    elif name == "BOOL":
        values = [True, False]
    elif datatype.dtype.kind == "f":
        values = [1.5, -2.0]
    else:
        limits = np.iinfo(datatype.dtype)
        values = [int(limits.min), int(limits.max)]
    array = outputs_of(answer(name, (2, 1), None, **{datatype.contents: values}))["y"]
    assert array.dtype == datatype.dtype
    assert array.tolist() == [[value] for value in values]


@pytest.mark.parametrize(
    ("response", "complaint"),
    [
        (answer("FP32", (2,), b"1234"), "takes 8 bytes, the server sent 4"),
        (answer("FP32", (-1,), b""), "impossible shape"),
        (answer("FP31", (1,), b"1234"), "'FP31', which the protocol does not have"),
        (answer("BYTES", (1,), b"\x05\0\0\0abc"), "element 0 is longer than what the server sent"),
        (answer("BYTES", (1,), b"\x05\0"), "element 0 is longer than"),
        (answer("BYTES", (2,), b"\x01\0\0\0a"), "takes 2 BYTES elements, the server sent 1"),
        (answer("FP32", (3,), fp32_contents=[1.0]), "takes 3 elements, the server sent 1"),
        (answer("FP16", (1,)), "takes 1 elements, the server sent 0"),
        (answer("INT8", (1,), int_contents=[300]), "no INT8"),
        (pb.ModelInferResponse(raw_output_contents=[b""]), "1 raw contents for 0 outputs"),
    ],
)
def test_answers_that_contradict_themselves_are_told_apart(response: pb.ModelInferResponse, complaint: str) -> None:
    with pytest.raises(ProtocolError, match=complaint):
        outputs_of(response)


@given(st.binary(max_size=60))
def test_no_answer_raises_anything_else(junk: bytes) -> None:
    for name in TYPES:
        try:
            outputs_of(answer(name, (2,), junk))
        except ProtocolError:
            continue
