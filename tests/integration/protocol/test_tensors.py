"""Every element type there and back, bit by bit, by identity models and stock clients."""

import asyncio
from collections.abc import Iterator
from typing import Any

import grpc
import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
import tritonclient.grpc.aio
from tritonclient.grpc import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException

from shoal.inference import grpc_service_pb2 as pb
from shoal_testing import models, triton, whole_models
from shoal_testing.server import RunningServer, running_server
from shoal_testing.triton import given
from shoal_testing.wire import INFERENCE, Wire

Array = npt.NDArray[Any]

TEXTS = [b"", b"a\0b\0", "pässi, 魚, 🐟".encode(), b"0123456789abcdef" * 65536]

VALUES: dict[str, Array] = {
    "BOOL": np.array([True, False, False, True]),
    **{f"UINT{bits}": np.array([0, 1, 2 ** (bits - 1), 2**bits - 1], f"u{bits // 8}") for bits in (8, 16, 32, 64)},
    **{
        f"INT{bits}": np.array([0, -1, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1], f"i{bits // 8}")
        for bits in (8, 16, 32, 64)
    },
    # Minus zero, the smallest denormal, both infinities, a quiet and a signalling NaN with payloads, two ordinary ones.
    "FP16": np.array([0x8000, 0x0001, 0x7C00, 0xFC00, 0x7E01, 0x7D23, 0x3C01, 0x7BFF], "u2").view("f2"),
    "BF16": np.array([0x8000, 0x0001, 0x7F80, 0xFF80, 0x7FC1, 0x7FA5, 0x3F81, 0x7F7F], "u2").view(ml_dtypes.bfloat16),
    "FP32": np.array(
        [0x80000000, 1, 0x7F800000, 0xFF800000, 0x7FC00001, 0x7FA12345, 0x3F800001, 0x7F7FFFFF], "u4"
    ).view("f4"),
    "FP64": np.array(
        [
            1 << 63,
            1,
            0x7FF << 52,
            0xFFF << 52,
            (0xFFF1 << 47) | 1,
            (0x7FF4 << 48) | 5,
            0x3FF0000000000001,
            (1 << 62) - 1,
        ],
        "u8",
    ).view("f8"),
    "BYTES": np.array(TEXTS, object),
}
"""Elements of each type of the protocol, an even number of them."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("models")
    for datatype in models.ONNX_TYPES:
        models.save(folder, datatype, models.identity(datatype, ["N", None]))
        models.save(folder, f"{datatype}_row", models.identity(datatype, ["N", 2]))
    models.save(folder, "all_types", models.all_types())
    models.save(folder, "scalars", whole_models.scalars())
    models.save(folder, "vector", models.vector())
    with running_server(folder) as running:
        yield running


def content(tensor: Any) -> bytes:  # noqa: ANN401 - tritonclient has no types
    """Return the raw form of an input's elements."""
    elements: bytes = tensor._get_content()  # noqa: SLF001 - there is no public way to read them
    return elements


@pytest.mark.parametrize("datatype", models.ONNX_TYPES)
def test_every_bit_of_a_tensor_comes_back(client: InferenceServerClient, datatype: str) -> None:
    tensor = given("x", VALUES[datatype].reshape(2, -1))
    result = client.infer(datatype, [tensor])
    output = result.get_output("y")
    assert (output.datatype, list(output.shape)) == (datatype, tensor.shape())
    assert triton.raw(result, "y") == content(tensor)
    assert content(given("y", result.as_numpy("y"))) == content(tensor)


def test_tensors_of_all_types_travel_in_one_request(client: InferenceServerClient) -> None:
    kinds = [datatype for datatype in models.ONNX_TYPES if datatype != "BF16"]
    tensors = [given(f"in_{kind.lower()}", VALUES[kind][:4].reshape(2, 2)) for kind in kinds]
    result = client.infer("all_types", tensors)
    for kind, tensor in zip(kinds, tensors, strict=True):
        assert triton.raw(result, f"out_{kind.lower()}") == content(tensor)


def test_concurrent_requests_of_every_type_each_get_their_own_bits(served: RunningServer) -> None:
    async def main() -> None:
        async with tritonclient.grpc.aio.InferenceServerClient(served.address) as client:

            async def call(datatype: str, start: int, end: int) -> None:
                elements = np.resize(VALUES[datatype], (4, 2))[start:end]
                tensor = given("x", elements)
                result = await client.infer(f"{datatype}_row", [tensor])
                assert triton.raw(result, "y") == content(tensor)

            rows = [(start, end) for start in range(4) for end in range(start + 1, 5)]
            await asyncio.gather(*[call(datatype, *span) for datatype in models.ONNX_TYPES for span in rows])

    asyncio.run(main())


TYPED = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


def typed(datatype: str, field: str, elements: list[Any], shape: list[int]) -> pb.ModelInferRequest:
    tensor = pb.ModelInferRequest.InferInputTensor(name="x", datatype=datatype, shape=shape)
    getattr(tensor.contents, field).extend(elements)
    return pb.ModelInferRequest(model_name=datatype, inputs=[tensor])


@pytest.mark.parametrize(("datatype", "field"), TYPED.items())
def test_elements_in_typed_contents_are_answered_in_raw_ones(wire: Wire, datatype: str, field: str) -> None:
    values = VALUES[datatype]
    if datatype == "FP32":
        # Python has no float32, so a signalling NaN would turn quiet on its way into the message.
        values = np.delete(values, 5)
    request = typed(datatype, field, values.tolist(), [values.size, 1])
    answer = wire.call(INFERENCE + "ModelInfer", request, pb.ModelInferResponse)
    assert answer.raw_output_contents == [content(given("x", values))]
    assert not answer.outputs[0].HasField("contents")


@pytest.mark.parametrize("datatype", ["FP16", "BF16"])
def test_half_floats_have_no_typed_contents_and_the_caller_is_told(wire: Wire, datatype: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        wire.call(INFERENCE + "ModelInfer", typed(datatype, "fp32_contents", [1.0], [1, 1]), pb.ModelInferResponse)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details() == (f"input 'x' is {datatype}, which has no typed contents: use raw_input_contents")


@pytest.mark.parametrize(
    ("datatype", "shape"),
    [(datatype, shape) for datatype in ("FP32", "BYTES", "BOOL") for shape in ([0, 2], [2, 0], [0, 0])],
)
def test_tensors_without_elements_come_back_without_elements(
    client: InferenceServerClient, wire: Wire, datatype: str, shape: list[int]
) -> None:
    sent = np.empty(shape, VALUES[datatype].dtype)
    received = client.infer(datatype, [given("x", sent)]).as_numpy("y")
    assert (received.shape, received.dtype) == (sent.shape, sent.dtype)
    request = typed(datatype, TYPED[datatype], [], shape)
    answer = wire.call(INFERENCE + "ModelInfer", request, pb.ModelInferResponse)
    assert answer.outputs[0].shape == shape
    assert answer.raw_output_contents == [b""]


def test_scalars_and_vectors_keep_their_ranks(client: InferenceServerClient) -> None:
    scalar = client.infer("scalars", [given("x", np.array(0.5, np.float32)), given("n", np.array(2))])
    assert scalar.as_numpy("y").shape == ()
    assert scalar.as_numpy("y") == 2.5
    vector = client.infer("vector", [given("x", np.array([1, 2, 3], np.float32))])
    assert vector.as_numpy("y").tolist() == [2, 4, 6]


def test_text_that_is_not_utf_8_is_refused_by_name(client: InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException) as caught:
        client.infer("BYTES", [given("x", np.array([[b"fine", b"\xff\xfe"]], object))])
    assert triton.status(caught.value) == "INVALID_ARGUMENT"
    assert caught.value.message() == "input 'x': BYTES element 1 is not valid UTF-8"


def test_a_type_that_the_model_does_not_take_is_refused_by_name(client: InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException) as caught:
        client.infer("FP32", [given("x", np.zeros((1, 2)))])
    assert triton.status(caught.value) == "INVALID_ARGUMENT"
    assert caught.value.message() == "input 'x' takes FP32, got FP64 data"


def test_an_input_whose_elements_were_never_set_is_refused(client: InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException) as caught:
        client.infer("FP32", [InferInput("x", [1, 2], "FP32")])
    assert triton.status(caught.value) == "INVALID_ARGUMENT"
    assert "unable to find data for input tensor 'x'" in caught.value.message()
