"""What a caller asks for, as a message, and what comes back, as a result."""

from typing import Any

import numpy as np
import pytest

from shoal.inference import grpc_service_pb2 as pb
from shoal_client.errors import InvalidInput
from shoal_client.request import Ask, message_of, needs_metadata, tensors_of
from shoal_client.result import Result, Timings, parameters_of, write_parameter
from shoal_client.signature import ModelMetadata, TensorSpec

METADATA = ModelMetadata(
    "m",
    ("1",),
    "",
    (TensorSpec("x", "FP32", (-1, 2)), TensorSpec("b", "BF16", (-1,))),
    (TensorSpec("y", "FP32", (-1,)),),
)


def test_arrays_need_no_metadata_and_lists_do() -> None:
    assert not needs_metadata({"x": np.zeros(1)})
    assert needs_metadata({"x": [0.0]})
    assert needs_metadata({"x": 0})
    assert needs_metadata({"x": np.zeros(1, np.uint16)}), "it may be BF16"
    assert needs_metadata({"x": np.zeros(1, ">u2")})


def test_a_request_says_everything_by_name() -> None:
    ask = Ask("m", {"x": np.ones((1, 2), np.float32)}, "3", ["y"], 2, {"a": 1, "b": "two", "c": 0.5, "d": True}, "id")
    message = message_of(ask, tensors_of(ask, None))
    assert (message.model_name, message.model_version, message.id) == ("m", "3", "id")
    assert [output.name for output in message.outputs] == ["y"]
    assert message.parameters["priority"].uint64_param == 2
    assert message.parameters["a"].int64_param == 1
    assert message.parameters["b"].string_param == "two"
    assert message.parameters["c"].double_param == 0.5
    assert message.parameters["d"].bool_param
    assert message.inputs[0].shape == [1, 2]
    assert message.raw_input_contents[0] == np.ones(2, np.float32).tobytes()


def test_uint16_is_bf16_where_the_model_says_so() -> None:
    ask = Ask("m", {"b": np.array([0x3F80], np.uint16), "x": [1, 2]})
    message = message_of(ask, tensors_of(ask, METADATA))
    assert [(tensor.name, tensor.datatype) for tensor in message.inputs] == [("b", "BF16"), ("x", "FP32")]
    assert message.raw_input_contents[0] == b"\x80\x3f"


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"model": ""}, "a model is named by a string that is not empty"),
        ({"inputs": [1]}, "inputs are given by name, as a dict; got list"),
        ({"outputs": "y"}, r"write \['y'\]"),
        ({"priority": -1}, "priority is from 0"),
        ({"priority": 1, "parameters": {"priority": 2}}, "given twice"),
    ],
)
def test_arguments_that_mean_nothing_are_refused(wrong: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InvalidInput, match=complaint):
        Ask(**({"model": "m", "inputs": {}} | wrong))


def test_an_input_that_the_model_does_not_have_is_refused_with_those_it_has() -> None:
    with pytest.raises(InvalidInput, match=r"no input 'z'; it takes x FP32\[-1, 2\], b BF16\[-1\]"):
        tensors_of(Ask("m", {"z": 1}), METADATA)
    with pytest.raises(InvalidInput, match="array of complex128"):
        tensors_of(Ask("m", {"x": np.zeros(1, complex)}), None)


@pytest.mark.parametrize("value", [True, 7, -(2**63), 2**64 - 1, 0.25, "text"])
def test_parameters_come_back_as_they_went(value: bool | float | str) -> None:  # noqa: FBT001 - a value among others
    response = pb.ModelInferResponse(parameters={"p": write_parameter("p", value), "later": pb.InferParameter()})
    assert parameters_of(response) == {"p": value}
    assert type(parameters_of(response)["p"]) is type(value)


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1, None, [1], b"raw"])
def test_parameters_that_no_field_holds_are_refused_by_name(value: object) -> None:
    with pytest.raises(InvalidInput, match="the parameter 'p'"):
        write_parameter("p", value)


def test_a_result_is_a_mapping_that_tells_what_it_has() -> None:
    result = Result(
        {"y": np.ones((1, 2), np.float32), "t": np.array([[b"\xc3\xa4"]], object)},
        model_name="m",
        model_version="3",
        timings=Timings(0.1),
    )
    assert list(result) == ["y", "t"]
    assert len(result) == 2
    assert result.text("t").tolist() == [["ä"]]
    numbers = next(name for name in result if name != "t")
    with pytest.raises(TypeError, match=f"output '{numbers}' has no text but "):
        result.text(numbers)
    assert repr(result) == "Result(m, version 3; y: float32[1, 2], t: object[1, 1])"
    with pytest.raises(KeyError, match="no output 'z'; m gave y, t"):
        result["z"]
