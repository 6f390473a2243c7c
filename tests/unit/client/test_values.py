"""Plain Python values to arrays of the model's types."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_client.errors import InvalidInput
from shoal_client.signature import TensorSpec
from shoal_client.values import to_array


def spec(datatype: str, *shape: int) -> TensorSpec:
    return TensorSpec("x", datatype, shape)


@pytest.mark.parametrize(
    ("value", "datatype", "shape", "wanted"),
    [
        ([[1, 2.5]], "FP32", (-1, 2), [[1, 2.5]]),
        ([1, 2.5], "FP32", (-1, 2), [[1, 2.5]]),
        (7, "INT64", (), 7),
        (7, "INT64", (-1, 1), [[7]]),
        (7, "INT64", (1,), [7]),
        ([1, 2], "UINT8", (-1,), [1, 2]),
        (True, "BOOL", (-1,), [True]),
        (["a", b"b"], "BYTES", (-1, 2), [["a", b"b"]]),
        ("abc", "BYTES", (-1,), ["abc"]),
        ([], "FP32", (-1,), []),
        ([np.float32(1), np.int8(2)], "FP64", (-1,), [1, 2]),
        ([np.ones(2), np.ones(2)], "FP16", (-1, 2), [[1, 1], [1, 1]]),
        ((1, 2), "INT32", (2,), [1, 2]),
        ([1, 2, 3], "FP32", (4, 3), [1, 2, 3]),
    ],
)
def test_the_models_metadata_settles_type_and_missing_dimensions(
    value: object, datatype: str, shape: tuple[int, ...], wanted: object
) -> None:
    assert to_array(value, spec(datatype, *shape)).tolist() == wanted


@pytest.mark.parametrize(
    ("value", "datatype", "complaint"),
    [
        ([1, "a"], "FP32", "takes FP32, numbers: got 'a'"),
        ([1, None], "FP32", "takes FP32, numbers: got None"),
        ([1.5], "INT32", "takes INT32, whole numbers: got 1.5"),
        ([300], "UINT8", "takes UINT8, whole numbers from 0"),
        ([-1], "UINT64", "takes UINT64, whole numbers from 0"),
        ([2**70], "INT64", "takes INT64, whole numbers"),
        ([1e39], "FP32", "takes FP32, numbers: overflow"),
        ([1e5], "FP16", "takes FP16, numbers: overflow"),
        ([1], "BOOL", "takes BOOL, booleans: got 1"),
        ([True], "INT8", "takes INT8, whole numbers: got True"),
        ([1], "BYTES", "takes BYTES, strings: got 1"),
        ([None], "BYTES", "takes BYTES, strings: got None"),
        ([1 + 2j], "FP32", "takes FP32, numbers: got"),
        ({"a": 1}, "FP32", "takes FP32, numbers: got"),
        ([[1], [1, 2]], "FP32", "differ in length or depth"),
        ([[1], 2], "FP32", "differ in length or depth"),
        ([1], "FP8", "give it as a numpy array"),
    ],
)
def test_what_would_change_its_kind_or_range_is_refused_by_name(value: object, datatype: str, complaint: str) -> None:
    with pytest.raises(InvalidInput, match=complaint) as caught:
        to_array(value, spec(datatype, -1))
    assert "'x'" in str(caught.value)


@given(st.lists(st.floats(width=32), max_size=20))
def test_numbers_become_bf16_as_ml_dtypes_rounds_them(numbers: list[float]) -> None:
    with np.errstate(over="ignore"):
        wanted = np.array(numbers, np.float32).astype(ml_dtypes.bfloat16)
    bits = to_array(numbers, spec("BF16", -1))
    assert bits.dtype == np.uint16
    same = bits == wanted.view(np.uint16)
    assert (same | np.isnan(wanted.astype(np.float32))).all()
