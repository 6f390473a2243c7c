"""A declaration of lengths against what a model takes: what is wrong is named, what is right is in order."""

from typing import Any

import numpy as np
import pytest

from shoal_server.errors import LoadFailed
from shoal_server.options import Generate, LengthOptions, VariableInput
from shoal_server.tensors.datatype import DataType
from shoal_server.tensors.declared_lengths import resolve
from shoal_server.tensors.lengths import Column
from shoal_server.tensors.spec import TensorSpec

INT, FLOAT, TEXT = DataType.INT64, DataType.FP32, DataType.BYTES
INPUTS = [
    TensorSpec("ids", INT, ("N", "L")),
    TensorSpec("mask", FLOAT, ("N", 1, "L")),
    TensorSpec("length", DataType.INT32, ("N",)),
    TensorSpec("fixed", FLOAT, ("N", 8)),
    TensorSpec("any", FLOAT, None),
    TensorSpec("optional", FLOAT, ("N", "L"), optional=True),
    TensorSpec("text", TEXT, ("N", "L")),
    TensorSpec("square", FLOAT, ("N", "L", "L")),
]
OUTPUTS = [
    TensorSpec("states", FLOAT, ("N", "L", 4)),
    TensorSpec("pooled", FLOAT, ("N", 4)),
    TensorSpec("z", FLOAT, None),
]
IDS = {"ids": VariableInput(1)}
MASK, LENGTH = Generate.MASK, Generate.LENGTH


def test_a_declaration_is_put_into_the_order_of_the_signature() -> None:
    said = {"length": VariableInput(0, generate=LENGTH), "mask": VariableInput(2, generate=MASK), **IDS}
    lengths = resolve(LengthOptions(said, {"states": 1, "z": 2}, 512, 0, (8, 16)), INPUTS, OUTPUTS)
    assert lengths.columns[:4] == (
        Column("ids", 1, 0, None),
        Column("mask", 2, 0.0, MASK),
        Column("length", 0, 0, LENGTH),
        None,
    )
    assert (lengths.cuts, lengths.max_length, lengths.edges, lengths.joined) == ((1, 0, 2), 512, (8, 16), True)
    assert lengths.generated == {1, 2}


@pytest.mark.parametrize(
    ("inputs", "outputs", "complaint"),
    [
        ({"id": VariableInput(1)}, {}, "[lengths] names input 'id', the model has ['ids', 'mask', "),
        (IDS, {"state": 1}, "[lengths] names output 'state', the model has ['states', 'pooled', 'z']"),
        (
            {"ids": VariableInput(2)},
            {},
            "[lengths] says axis 2 of input 'ids', which has 2 dimensions; wanted one after",
        ),
        (IDS, {"states": 3}, "[lengths] says axis 3 of output 'states', which has 3 dimensions"),
        ({"fixed": VariableInput(1)}, {}, "[lengths] says axis 1 of input 'fixed', which always has size 8 there"),
        (IDS, {"pooled": 1}, "[lengths] says axis 1 of output 'pooled', which always has size 4 there"),
        ({"any": VariableInput(1)}, {}, "[lengths] says axis 1 of input 'any', whose number of dimensions is unknown"),
        ({"optional": VariableInput(1)}, {}, "[lengths] names input 'optional', which is optional"),
        ({"mask": VariableInput(2, generate=MASK)}, {}, "[lengths] names no input that gives the length"),
        (
            {**IDS, "text": VariableInput(1, generate=MASK)},
            {},
            "[lengths] has a mask generated for input 'text': it takes BYTES, and 'pad' is 0; wanted numbers, and no",
        ),
        (
            {**IDS, "mask": VariableInput(2, 1, MASK)},
            {},
            "[lengths] has a mask generated for input 'mask': it takes FP32",
        ),
        (
            {**IDS, "square": VariableInput(1, generate=MASK)},
            {},
            "[lengths]: input 'square' cannot be generated, as its axes [1, 2] vary",
        ),
        (
            {**IDS, "mask": VariableInput(0, generate=LENGTH)},
            {},
            "[lengths] has lengths generated for input 'mask', which takes FP32 of shape [-1, 1, -1]; wanted whole",
        ),
    ],
)
def test_what_a_declaration_has_wrong_is_named(
    inputs: dict[str, VariableInput], outputs: dict[str, int], complaint: str
) -> None:
    with pytest.raises(LoadFailed) as raised:
        resolve(LengthOptions(inputs, outputs), INPUTS, OUTPUTS)
    assert str(raised.value).startswith(complaint)


@pytest.mark.parametrize(
    ("datatype", "pad", "held"),
    [
        (DataType.INT64, -1, -1),
        (DataType.UINT8, 255, 255),
        (DataType.UINT8, 256, None),
        (DataType.UINT8, -1, None),
        (DataType.INT32, 1.0, None),
        (DataType.INT32, True, None),
        (DataType.INT32, "0", None),
        (DataType.FP32, 1, 1.0),
        (DataType.FP32, float("-inf"), float("-inf")),
        (DataType.FP16, 65504, 65504.0),
        (DataType.FP16, 65505.0, None),
        (DataType.FP32, True, None),
        (DataType.BF16, 1.0, 0x3F80),
        (DataType.BOOL, True, True),
        (DataType.BOOL, 0, False),
        (DataType.BOOL, 1, None),
        (DataType.BYTES, "[PAD]", "[PAD]"),
        (DataType.BYTES, 0, ""),
        (DataType.BYTES, 1, None),
    ],
)
def test_a_pad_value_has_to_fit_its_inputs_type(datatype: DataType, pad: Any, held: object) -> None:  # noqa: ANN401 - of any type
    inputs = [TensorSpec("x", datatype, ("N", "L"))]
    options = LengthOptions({"x": VariableInput(1, pad)})
    if held is None:
        with pytest.raises(LoadFailed) as raised:
            resolve(options, inputs, [])
        assert str(raised.value) == f"[lengths] pads input 'x', of {datatype.value}, with {pad!r}"
        return
    column = resolve(options, inputs, []).columns[0]
    assert column is not None
    assert column.pad == held
    np.full(1, column.pad, datatype.dtype)
