from dataclasses import dataclass

import pytest

from shoal_server.errors import LoadFailed
from shoal_server.runtime.model_tensors import ModelTensor, read_input, read_output
from shoal_server.tensors.datatype import DataType
from shoal_server.tensors.spec import TensorSpec


@dataclass
class Arg:
    name: str
    type: str
    shape: list[int | str | None]


@pytest.mark.parametrize(
    ("runtime_type", "datatype"),
    [
        ("bool", DataType.BOOL),
        ("uint8", DataType.UINT8),
        ("uint16", DataType.UINT16),
        ("uint32", DataType.UINT32),
        ("uint64", DataType.UINT64),
        ("int8", DataType.INT8),
        ("int16", DataType.INT16),
        ("int32", DataType.INT32),
        ("int64", DataType.INT64),
        ("float16", DataType.FP16),
        ("bfloat16", DataType.BF16),
        ("float", DataType.FP32),
        ("double", DataType.FP64),
        ("string", DataType.BYTES),
        ("float8e5m2", DataType.UINT8),
    ],
)
def test_every_type_of_the_protocol_has_one_of_the_runtime(runtime_type: str, datatype: DataType) -> None:
    tensor = read_input(Arg("x", f"tensor({runtime_type})", ["N", None, 3, 0]))
    assert tensor.spec == TensorSpec("x", datatype, ("N", "", 3, 0))


def test_only_types_that_numpy_lacks_are_relabelled() -> None:
    assert read_input(Arg("x", "tensor(float)", [1])).onnx_number == 0
    assert read_input(Arg("x", "tensor(bfloat16)", [1])).onnx_number == 16
    assert read_input(Arg("x", "tensor(float8e4m3fn)", [1])).onnx_number == 17


def test_no_dimensions_may_be_a_scalar_or_anything() -> None:
    assert read_input(Arg("x", "tensor(float)", [])).spec.dims is None


def test_an_optional_input_may_be_left_out() -> None:
    assert read_input(Arg("x", "optional(tensor(int64))", [2])).spec.optional
    assert read_input(Arg("x", "tensor(int64)", [2]), optional=True).spec.optional
    assert not read_input(Arg("x", "tensor(int64)", [2])).spec.optional


def test_an_output_may_have_another_name_for_callers() -> None:
    output = read_output(Arg("inner", "tensor(float)", ["N", 2]), "outer", ("no", "yes"))
    assert output == ModelTensor(TensorSpec("outer", DataType.FP32, ("N", 2), labels=("no", "yes")), "inner")


def test_an_output_with_labels_has_a_column_for_each() -> None:
    assert read_output(Arg("y", "tensor(float)", []), "y", ("a", "b", "c")).spec.shape == (-1, 3)


@pytest.mark.parametrize(
    ("runtime_type", "complaint"),
    [
        ("seq(tensor(float))", "input 'x' is seq(tensor(float)); the protocol carries tensors only"),
        ("map(string,tensor(float))", "input 'x' is map(string,tensor(float)); the protocol carries tensors only"),
        ("sparse_tensor(float)", "input 'x' is sparse_tensor(float); the protocol carries tensors only"),
        ("tensor(complex64)", "input 'x' is tensor(complex64); the protocol has no such elements"),
        ("tensor(float4e2m1)", "input 'x' is tensor(float4e2m1); the protocol has no such elements"),
    ],
)
def test_what_the_protocol_cannot_carry_is_named(runtime_type: str, complaint: str) -> None:
    with pytest.raises(LoadFailed) as failed:
        read_input(Arg("x", runtime_type, []))
    assert str(failed.value) == complaint


def test_an_output_that_may_be_missing_is_refused() -> None:
    with pytest.raises(LoadFailed, match="output 'y' is optional"):
        read_output(Arg("y", "optional(tensor(float))", []), "y")
