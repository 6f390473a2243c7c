"""Many requests as one array and back, for every element type."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from shoal_server.tensors.batch import WHOLE, OutputBlock, SplitError, assemble, blocks_of
from shoal_server.tensors.datatype import DataType
from shoal_server.tensors.spec import Signature, TensorSpec
from shoal_server.tensors.text import decode_text
from shoal_server.tensors.value import Value
from shoal_testing.fakes import tensor
from shoal_testing.scattered import FakeScattered

Array = npt.NDArray[Any]
NUMBERS = [datatype for datatype in DataType if datatype is not DataType.BYTES]
SPECIAL = [0.0, -0.0, np.nan, np.inf, -np.inf, 5e-324, 1e-45, 6e-8, 65504.0]


def array_of(datatype: DataType, *shape: int) -> Array:
    """Return an array whose elements all differ as far as the type allows."""
    count = int(np.prod(shape))
    if datatype is DataType.BYTES:
        array = np.empty(count, object)
        array[:] = [f"{number}" * (number % 3) for number in range(count)]
        return array.reshape(shape)
    bits = np.arange(count, dtype=np.uint64) * 0x0123456789ABCDEF
    if datatype is DataType.BOOL:
        return np.asarray(bits % 3 == 0).reshape(shape)
    raw = bits.view(np.uint8).reshape(count, 8)[:, : datatype.itemsize].tobytes()
    return np.frombuffer(raw, datatype.dtype).reshape(shape)


def signature_of(*datatypes: DataType, dims: tuple[int | str, ...] = ("", "")) -> Signature:
    inputs = tuple(TensorSpec(f"i{index}", datatype, dims) for index, datatype in enumerate(datatypes))
    outputs = tuple(TensorSpec(f"o{index}", datatype, dims) for index, datatype in enumerate(datatypes))
    return Signature(inputs, outputs, batched=True)


def value_of(datatype: DataType, array: Array) -> Value:
    if datatype is DataType.BYTES:
        return Value(array.shape, array.ravel().tolist())
    return Value(array.shape, array.tobytes())


def identical(left: Array, right: Array) -> bool:
    """Bit for bit, NaN and minus zero included."""
    if left.shape != right.shape or left.dtype != right.dtype:
        return False
    return bool(left.tolist() == right.tolist()) if left.dtype == object else left.tobytes() == right.tobytes()


def answer_of(block: OutputBlock, start: int, rows: int) -> Array:
    shape, raw = block.shape(rows), bytes(block.raw(start, rows))
    if block.datatype is DataType.BYTES:
        return np.array(decode_text("o", raw, int(np.prod(shape))), object).reshape(shape)
    return np.frombuffer(raw, block.datatype.dtype).reshape(shape)


@pytest.mark.parametrize("width", [0, 1, 3])
@pytest.mark.parametrize("datatype", DataType)
def test_what_is_assembled_from_members_is_split_into_the_same_members(datatype: DataType, width: int) -> None:
    signature = signature_of(datatype)
    whole = array_of(datatype, 6, width)
    parts = [whole[:1], whole[1:3], whole[3:]]
    (batch,) = assemble(signature, [[value_of(datatype, part)] for part in parts], 0)
    assert batch is not None
    assert identical(batch, whole)
    (block,) = blocks_of(signature, [batch], 6)
    for start, part in zip((0, 1, 3), parts, strict=True):
        assert identical(answer_of(block, start, len(part)), part)


@pytest.mark.parametrize("datatype", NUMBERS)
def test_scattered_elements_are_copied_once_into_their_batch(datatype: DataType) -> None:
    signature = signature_of(datatype)
    whole = array_of(datatype, 6, 3)
    scattered = Value((6, 3), FakeScattered(whole.tobytes()))
    one, two, three = scattered.cut(0, 1), value_of(datatype, whole[1:3]), value_of(datatype, whole).cut(3, 3)
    for members in ([scattered], [one, two, three]):
        assert isinstance(scattered.payload, FakeScattered)
        scattered.payload.copies.clear()
        (batch,) = assemble(signature, [[member] for member in members], 0)
        assert batch is not None
        assert identical(batch, whole)
        assert scattered.payload.copies == [len(members[0].payload)]


@pytest.mark.parametrize("datatype", DataType)
def test_a_batch_is_padded_by_repeating_its_last_row(datatype: DataType) -> None:
    whole = array_of(datatype, 3, 2)
    for parts in ([whole], [whole[:1], whole[1:]]):
        (batch,) = assemble(signature_of(datatype), [[value_of(datatype, part)] for part in parts], 5)
        assert batch is not None
        assert identical(batch, np.concatenate([whole, whole[-1:], whole[-1:]]))


def test_padding_to_no_more_than_there_is_changes_nothing() -> None:
    whole = array_of(DataType.INT32, 3, 2)
    (batch,) = assemble(signature_of(DataType.INT32), [[value_of(DataType.INT32, whole)]], 2)
    assert batch is not None
    assert identical(batch, whole)


@pytest.mark.parametrize("shape", [(), (0,), (3,), (0, 4), (2, 0), (2, 3, 4)])
@pytest.mark.parametrize("datatype", DataType)
def test_an_answer_that_is_not_split_has_the_shape_and_bytes_that_the_model_gave(
    datatype: DataType, shape: tuple[int, ...]
) -> None:
    array = array_of(datatype, *shape)
    (block,) = blocks_of(signature_of(datatype), [array], WHOLE)
    assert identical(answer_of(block, 0, WHOLE), array)


@pytest.mark.parametrize("size", [1 << 15, (1 << 16) + 8, 1 << 18])
@pytest.mark.parametrize("datatype", DataType)
def test_large_outputs_are_split_like_small_ones(datatype: DataType, size: int) -> None:
    rows = 4
    width = size // (datatype.itemsize or 64) // rows
    array = array_of(datatype, rows, width)
    (block,) = blocks_of(signature_of(datatype), [array], rows)
    for row in range(rows):
        assert identical(answer_of(block, row, 1), array[row : row + 1])
    assert identical(answer_of(block, 0, WHOLE), array)


@pytest.mark.parametrize("datatype", DataType)
@pytest.mark.parametrize("width", [3, 40_000], ids=["small", "large"])
def test_outputs_that_are_not_contiguous_are_split_by_their_rows(datatype: DataType, width: int) -> None:
    array = np.asfortranarray(array_of(datatype, 4, width))[::2]
    (block,) = blocks_of(signature_of(datatype), [array], 2)
    assert identical(answer_of(block, 1, 1), np.ascontiguousarray(array[1:]))


@pytest.mark.parametrize("datatype", NUMBERS)
def test_the_size_of_an_answer_is_known_before_it_is_taken(datatype: DataType) -> None:
    for shape in ((4, 3), (4, 0), (0, 3)):
        array = array_of(datatype, *shape)
        (block,) = blocks_of(signature_of(datatype), [array], shape[0])
        for rows in (WHOLE, 0, min(2, shape[0])):
            assert block.size_bytes(rows) == len(block.raw(0, rows))


def test_the_size_of_strings_is_not() -> None:
    (block,) = blocks_of(signature_of(DataType.BYTES), [array_of(DataType.BYTES, 2, 2)], 2)
    assert block.size_bytes(1) is None


@pytest.mark.parametrize("datatype", [DataType.FP16, DataType.FP32, DataType.FP64])
def test_not_a_number_infinities_and_denormals_keep_their_bits(datatype: DataType) -> None:
    with np.errstate(over="ignore", under="ignore"):
        array = np.array(SPECIAL, datatype.dtype).reshape(3, 3)
    parts = [array[:1], array[1:]]
    (batch,) = assemble(signature_of(datatype), [[value_of(datatype, part)] for part in parts], 4)
    assert batch is not None
    (block,) = blocks_of(signature_of(datatype), [batch], 4)
    assert identical(answer_of(block, 0, 1), parts[0])
    assert identical(answer_of(block, 1, 2), parts[1])


def test_strings_with_nul_and_of_a_megabyte_come_out_as_they_went_in() -> None:
    array = np.array([["\x00"], ["a\x00b"], ["x" * (1 << 20)], [""]], object)
    members = [[value_of(DataType.BYTES, array[:2])], [value_of(DataType.BYTES, array[2:])]]
    (batch,) = assemble(signature_of(DataType.BYTES), members, 0)
    assert batch is not None
    (block,) = blocks_of(signature_of(DataType.BYTES), [batch], 4)
    assert identical(answer_of(block, 2, 2), array[2:])


def test_an_optional_input_that_nobody_gave_is_left_out_for_the_model_too() -> None:
    signature = signature_of(DataType.INT32, DataType.INT32)
    value = value_of(DataType.INT32, array_of(DataType.INT32, 1, 1))
    for members in ([[value, None]], [[value, None], [value, None]]):
        for padded_rows in (0, 4):
            given, left_out = assemble(signature, members, padded_rows)
            assert given is not None
            assert left_out is None


def test_several_inputs_are_assembled_each_on_its_own() -> None:
    signature = signature_of(DataType.INT8, DataType.BYTES)
    numbers, texts = array_of(DataType.INT8, 3, 2), array_of(DataType.BYTES, 3, 4)
    members = [
        [value_of(DataType.INT8, numbers[:2]), value_of(DataType.BYTES, texts[:2])],
        [value_of(DataType.INT8, numbers[2:]), value_of(DataType.BYTES, texts[2:])],
    ]
    first, second = assemble(signature, members, 0)
    assert first is not None
    assert second is not None
    assert identical(first, numbers)
    assert identical(second, texts)


@pytest.mark.parametrize(
    ("arrays", "rows", "complaint"),
    [
        ([], 2, "the model declares 1 outputs and gave 0"),
        ([np.zeros((2, 1), "f4")] * 2, 2, "the model declares 1 outputs and gave 2"),
        ([np.zeros((2, 1), "f8")], 2, "output 'o0' is declared FP32 and came as float64"),
        ([np.zeros((2, 1), "f8")], WHOLE, "output 'o0' is declared FP32 and came as float64"),
        ([np.zeros((3, 1), "f4")], 2, "output 'o0' has shape [3, 1] for 2 rows"),
        ([np.zeros((1, 1), "f4")], 2, "output 'o0' has shape [1, 1] for 2 rows"),
        ([np.zeros((), "f4")], 1, "output 'o0' has shape [] for 1 rows"),
    ],
    ids=["none", "two", "type", "type_of_whole", "more", "fewer", "scalar"],
)
def test_outputs_that_cannot_be_told_apart_by_row_are_not_split(arrays: list[Array], rows: int, complaint: str) -> None:
    with pytest.raises(SplitError) as failure:
        blocks_of(signature_of(DataType.FP32), arrays, rows)
    assert str(failure.value) == complaint


def test_a_block_knows_the_shape_beyond_the_rows() -> None:
    (block,) = blocks_of(signature_of(DataType.FP32), [np.zeros((4, 2, 3), "f4")], 4)
    assert (block.name, block.tail, block.shape(2), block.shape(WHOLE)) == ("o0", (2, 3), (2, 2, 3), (4, 2, 3))


def test_an_array_survives_the_form_in_which_a_caller_sends_it() -> None:
    for datatype in DataType:
        if datatype is DataType.BF16:
            continue
        array = array_of(datatype, 2, 3)
        sent = tensor("i0", array)
        (value,) = signature_of(datatype).check([sent]).values
        assert value == value_of(datatype, array)
