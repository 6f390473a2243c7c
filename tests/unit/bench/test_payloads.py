import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given as with_examples
from hypothesis import strategies as st

from shoal.inference.grpc_service_pb2 import ModelInferRequest, ModelMetadataResponse
from shoal_bench.payloads import PayloadError, given, made_up
from shoal_bench.scenario import Request


def metadata(*inputs: tuple[str, str, list[int]]) -> ModelMetadataResponse:
    response = ModelMetadataResponse(name="m")
    for name, datatype, shape in inputs:
        response.inputs.add(name=name, datatype=datatype, shape=shape)
    return response


def test_free_dimensions_get_the_rows_and_a_length_that_all_inputs_of_a_request_share() -> None:
    takes = metadata(("ids", "INT64", [-1, -1]), ("mask", "INT64", [-1, -1]), ("flag", "BOOL", [1]))
    payloads = made_up(Request("m", rows=3, lengths=(2, 40), variants=10), takes, seed=1)
    shapes = []
    for payload in payloads:
        request = ModelInferRequest.FromString(payload.message)
        ids, mask, flag = request.inputs
        assert list(ids.shape) == list(mask.shape)
        assert (ids.shape[0], list(flag.shape)) == (3, [1])
        assert 2 <= ids.shape[1] <= 40
        assert len(request.raw_input_contents[0]) == 3 * ids.shape[1] * 8
        shapes.append(ids.shape[1])
    assert len(set(shapes)) > 1
    assert sum(payload.weight for payload in payloads) == pytest.approx(1.0)


@with_examples(st.sampled_from(["BOOL", "INT8", "UINT16", "INT32", "UINT64", "FP16", "FP32", "FP64", "BYTES"]))
def test_payloads_can_be_made_up_for_every_type_and_are_the_same_for_the_same_seed(datatype: str) -> None:
    takes = metadata(("x", datatype, [-1, 3]))
    assert made_up(Request("m"), takes, 7) == made_up(Request("m"), takes, 7)


def test_a_type_that_is_unknown_is_refused() -> None:
    with pytest.raises(PayloadError, match="input 'x' of 'x' is FP8"):
        made_up(Request("m"), metadata(("x", "FP8", [1])), 0)


def test_a_request_of_unlikely_size_is_refused_before_it_is_made() -> None:
    with pytest.raises(PayloadError, match="send fewer rows"):
        made_up(Request("m", rows=1 << 20), metadata(("x", "FP32", [-1, 1024])), 0)


@pytest.mark.parametrize(
    ("array", "datatype", "raw"),
    [
        (np.array([[1, 2]]), "FP32", np.array([1, 2], np.float32).tobytes()),
        (np.array([[1, 2]]), "INT64", np.array([1, 2], np.int64).tobytes()),
        (np.array([[1.5, 2]]), "FP64", np.array([1.5, 2], np.float64).tobytes()),
        (np.array([[True, False]]), "BOOL", b"\1\0"),
        (np.array([["a", "bc"]], object), "BYTES", b"\1\0\0\0a\2\0\0\0bc"),
    ],
)
def test_arrays_that_fit_are_sent_as_they_are(array: npt.NDArray[np.generic], datatype: str, raw: bytes) -> None:
    payload = given(Request("m"), metadata(("x", datatype, [-1, 2])), {"x": array})
    assert ModelInferRequest.FromString(payload.message).raw_input_contents[0] == raw


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"y": np.zeros((1, 2))}, r"has no input 'y'; it takes x INT64\[-1, 2\]"),
        ({}, "input 'x' of model 'm' is missing"),
        ({"x": np.zeros((1, 3), np.int64)}, r"takes INT64\[-1, 2\], got an array of shape \[1, 3\]"),
        ({"x": np.zeros(2, np.int64)}, r"got an array of shape \[2\]"),
        ({"x": np.array([[0.5, 1.0]])}, r"takes INT64\[-1, 2\], got an array of float64"),
        ({"x": np.array([["a", "b"]])}, "got an array of <U1"),
        ({"x": np.array([[True, True]])}, "got an array of bool"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_with_the_reason(
    arrays: dict[str, npt.NDArray[np.generic]], words: str
) -> None:
    with pytest.raises(PayloadError, match=words):
        given(Request("m"), metadata(("x", "INT64", [-1, 2])), arrays)


def test_numbers_are_no_texts() -> None:
    with pytest.raises(PayloadError, match="which is no text"):
        given(Request("m"), metadata(("x", "BYTES", [2])), {"x": np.array([1, 2])})


def test_of_a_model_that_the_server_tells_nothing_of_nothing_is_made_up() -> None:
    with pytest.raises(PayloadError, match=r"does not tell what model 'm' takes.*use --input"):
        made_up(Request("m"), metadata(), 0)


@pytest.mark.parametrize(
    ("array", "datatype"),
    [
        (np.zeros((2, 3), np.float32), "FP32"),
        (np.zeros((2, 3), np.int64), "INT64"),
        (np.array([["a", "b"]], object), "BYTES"),
    ],
    ids=["floats", "whole numbers", "texts"],
)
def test_to_a_model_that_the_server_tells_nothing_of_arrays_are_sent_as_they_are(
    array: npt.NDArray[np.generic], datatype: str
) -> None:
    request = ModelInferRequest.FromString(given(Request("m"), metadata(), {"x": array}).message)
    assert (request.inputs[0].name, request.inputs[0].datatype) == ("x", datatype)
    assert tuple(request.inputs[0].shape) == array.shape
    assert len(request.raw_input_contents) == 1
