import ml_dtypes
import numpy as np
import pytest

from shoal_server.tensors.datatype import DataType
from shoal_server.tensors.finite import Place, all_finite, first_not_finite
from shoal_server.tensors.spec import TensorSpec

FLOATS = [DataType.FP16, DataType.FP32, DataType.FP64, DataType.BF16]


def of(datatype: DataType, values: object) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
    """Return numbers as the server holds them."""
    if datatype is DataType.BF16:
        return np.asarray(values, ml_dtypes.bfloat16).view(np.uint16)
    return np.asarray(values, datatype.dtype)


@pytest.mark.parametrize("datatype", FLOATS)
@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_the_first_row_that_is_not_finite_is_named(datatype: DataType, odd: float) -> None:
    spec = TensorSpec("y", datatype, ("N", 2))
    values = [[0.0, -1.0], [2.0, 3.0], [4.0, odd], [odd, 5.0]]
    assert not all_finite(spec, of(datatype, values))
    assert first_not_finite([spec, spec], [of(datatype, values[:2]), of(datatype, values)]) == Place("y", 2)


@pytest.mark.parametrize("datatype", FLOATS)
def test_the_largest_numbers_are_finite(datatype: DataType) -> None:
    spec = TensorSpec("y", datatype, ("N",))
    largest = 3.3895314e38 if datatype is DataType.BF16 else np.finfo(datatype.dtype).max
    array = of(datatype, [largest, -largest, 0.0])
    assert all_finite(spec, array)
    assert first_not_finite([spec], [array]) is None


def test_a_scalar_has_row_0_and_what_was_left_out_none() -> None:
    spec = TensorSpec("y", DataType.FP32, ())
    assert first_not_finite([spec, spec], [None, of(DataType.FP32, np.nan)]) == Place("y", 0)


@pytest.mark.parametrize("datatype", [one for one in DataType if one not in FLOATS])
def test_what_is_no_float_is_finite(datatype: DataType) -> None:
    assert all_finite(TensorSpec("y", datatype, ("N",)), np.full(3, 0x7F80 & 0x7F).astype(datatype.dtype))


def test_whole_numbers_with_the_bits_of_a_nan_are_finite() -> None:
    assert all_finite(TensorSpec("y", DataType.UINT16, ("N",)), np.array([0x7FC0], np.uint16))
