import numpy as np
import pytest

from shoal_server.tensors.datatype import DataType

ITEM_SIZES = {
    "BOOL": 1, "UINT8": 1, "UINT16": 2, "UINT32": 4, "UINT64": 8, "INT8": 1, "INT16": 2, "INT32": 4, "INT64": 8,
    "FP16": 2, "BF16": 2, "FP32": 4, "FP64": 8, "BYTES": 0,
}  # fmt: skip


def test_the_types_of_the_protocol_are_all_there_with_their_sizes() -> None:
    assert {datatype.value: datatype.itemsize for datatype in DataType} == ITEM_SIZES


@pytest.mark.parametrize("datatype", [datatype for datatype in DataType if datatype is not DataType.BYTES])
def test_an_element_takes_as_many_bytes_in_numpy_as_on_the_wire(datatype: DataType) -> None:
    assert datatype.dtype.itemsize == datatype.itemsize
    assert datatype.dtype == datatype.dtype.newbyteorder("<")


def test_bfloat16_is_held_as_its_bits_and_strings_as_objects() -> None:
    assert DataType.BF16.dtype == np.uint16
    assert DataType.BYTES.dtype == object
