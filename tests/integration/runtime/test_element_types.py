"""Every element type of the protocol goes in and comes out bit by bit."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from onnx import TensorProto, helper

from shoal_server.runtime.ort_model import OrtModel
from shoal_server.tensors.datatype import DataType
from shoal_testing import models, whole_models

Load = Callable[..., OrtModel]
Array = npt.NDArray[Any]

NUMBERS = [datatype for datatype in DataType if datatype not in (DataType.BYTES, DataType.BOOL)]


def run(model: OrtModel, *arrays: Array | None) -> Sequence[Array]:
    return model.run(list(arrays), None)


def texts(*values: str) -> Array:
    array = np.empty(len(values), object)
    array[:] = values
    return array


@pytest.mark.parametrize("datatype", NUMBERS)
def test_every_bit_pattern_of_a_number_survives(load: Load, datatype: DataType) -> None:
    # Read-only, as arrays over a request's bytes are. Every NaN, infinity and denormal is among them.
    raw = np.random.default_rng(0).bytes(8 * 4096)
    x = np.frombuffer(raw, datatype.dtype).reshape(-1, 2)
    assert not x.flags.writeable
    (y,) = run(load(models.identity(datatype.value)), x)
    assert y.dtype == datatype.dtype
    assert y.shape == x.shape
    assert y.tobytes() == raw


def test_booleans_survive(load: Load) -> None:
    x = np.frombuffer(b"\1\0\0\1", bool).reshape(2, 2)
    (y,) = run(load(models.identity("BOOL")), x)
    assert y.dtype == np.dtype(bool)
    assert np.array_equal(x, y)


def test_strings_survive(load: Load) -> None:
    x = texts("", "a", "nul\0inside", "\0", "end\0", "Zürich", "漢字", "\N{GRINNING FACE}", "x" * (1 << 20), " \n ")
    (y,) = run(load(models.identity("BYTES", ["N"])), x)
    assert y.dtype == object
    assert y.tolist() == x.tolist()


@pytest.mark.parametrize("datatype", list(DataType))
@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1, 1, 1)])
def test_scalars_and_tensors_without_elements_survive(load: Load, datatype: DataType, shape: tuple[int, ...]) -> None:
    x = np.full(shape, "text", object) if datatype is DataType.BYTES else np.ones(shape, datatype.dtype)
    (y,) = run(load(models.identity(datatype.value, None)), x)
    assert y.shape == shape
    assert y.dtype == datatype.dtype
    assert y.tolist() == x.tolist()


def test_an_array_that_is_not_contiguous_is_read_in_order(load: Load) -> None:
    for datatype in (DataType.BF16, DataType.FP32):
        x = np.arange(12).astype(datatype.dtype).reshape(2, 6).T
        (y,) = run(load(models.identity(datatype.value)), x)
        assert np.array_equal(x, y)


def test_all_types_in_one_model(load: Load) -> None:
    model = load(models.all_types())
    assert model.signature.batched
    arrays = [
        texts("a", "b").reshape(1, 2)
        if spec.datatype is DataType.BYTES
        else np.array([[0, 1]]).astype(spec.datatype.dtype)
        for spec in model.signature.inputs
    ]
    for spec, x, y in zip(model.signature.outputs, arrays, run(model, *arrays), strict=True):
        assert y.dtype == spec.datatype.dtype
        assert np.array_equal(x, y)


def test_bf16_goes_in_where_other_types_come_out_and_the_other_way_round(load: Load) -> None:
    def cast(source: int, target: int) -> bytes:
        node = helper.make_node("Cast", ["x"], ["y"], to=target)
        return models.graph([node], [("x", source, ["N"])], [("y", target, ["N"])])

    halves = np.array([0x3F80, 0xC000, 0x7F80], np.uint16)  # 1, -2 and infinity
    (y,) = run(load(cast(TensorProto.BFLOAT16, TensorProto.FLOAT)), halves)
    assert y.tolist() == [1.0, -2.0, np.inf]
    (z,) = run(load(cast(TensorProto.FLOAT, TensorProto.BFLOAT16)), y)
    assert np.array_equal(z, halves)


def test_bf16_beside_strings_in_the_output(load: Load) -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["half"], to=TensorProto.BFLOAT16),
        helper.make_node("Cast", ["x"], ["text"], to=TensorProto.STRING),
    ]
    dims = ["N"]
    outputs = [("half", TensorProto.BFLOAT16, dims), ("text", TensorProto.STRING, dims)]
    half, text = run(load(models.graph(nodes, [("x", TensorProto.INT32, dims)], outputs)), np.array([1, 2], np.int32))
    assert half.tolist() == [0x3F80, 0x4000]
    assert text.tolist() == ["1", "2"]


@pytest.mark.parametrize("name", ["FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ"])
def test_eight_bit_floats_travel_as_their_bits(load: Load, name: str) -> None:
    number = getattr(TensorProto, name)
    node = helper.make_node("Identity", ["x"], ["y"])
    model = load(models.graph([node], [("x", number, ["N"])], [("y", number, ["N"])], opset=19))
    assert [spec.datatype for spec in model.signature.inputs + model.signature.outputs] == [DataType.UINT8] * 2
    x = np.arange(256, dtype=np.uint8)
    assert np.array_equal(run(model, x)[0], x)


def test_optional_inputs_may_be_left_out(load: Load) -> None:
    model = load(models.optional_input())
    x, factor = np.ones((1, 2), np.float32), np.array([5, 7], np.float32)
    assert [spec.optional for spec in model.signature.inputs] == [False, True]
    assert run(model, x, None)[0].tolist() == [[2, 3]]
    assert run(model, x, factor)[0].tolist() == [[5, 7]]


def test_inputs_of_an_optional_type_may_be_left_out(load: Load) -> None:
    tensor = helper.make_tensor_type_proto(TensorProto.FLOAT, ["N"])
    info = helper.make_value_info("x", helper.make_optional_type_proto(tensor))
    node = helper.make_node("OptionalHasElement", ["x"], ["y"])
    graph = helper.make_graph([node], "g", [info], [helper.make_tensor_value_info("y", TensorProto.BOOL, [])])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    loaded = load(model.SerializeToString())
    assert loaded.signature.inputs[0].optional
    assert not run(loaded, None)[0]
    assert run(loaded, np.ones(2, np.float32))[0]


def test_a_model_without_inputs_runs(load: Load) -> None:
    assert run(load(whole_models.constant()))[0].tolist() == [1, 2, 3]


def test_scalars_have_no_dimensions_to_tell(load: Load) -> None:
    model = load(whole_models.scalars())
    assert [spec.dims for spec in model.signature.inputs] == [None, None]
    (y,) = run(model, np.array(1.5, np.float32), np.array(2))
    assert y.shape == ()
    assert y == 3.5
