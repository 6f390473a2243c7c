import numpy as np
import pytest

from shoal_server.runtime.likeness import is_telling, unlike
from shoal_server.tensors.datatype import DataType

FP32 = DataType.FP32


def floats(*rows: list[float]) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.array(rows, np.float32)


def test_rounding_is_no_difference() -> None:
    assert unlike(FP32, floats([1000.0, 1.0]), floats([1000.05, 1.05])) is None


def test_more_than_rounding_is_a_difference() -> None:
    assert unlike(FP32, floats([1000.0, 1.0]), floats([1000.0, 1.2])) == "1 became 1.2"


def test_a_row_of_small_values_beside_large_ones_may_be_off_by_what_cancelled_out() -> None:
    assert unlike(FP32, floats([1000.0], [0.0]), floats([1000.0], [0.009])) is None
    assert unlike(FP32, floats([1000.0], [0.0]), floats([1000.0], [0.02])) is not None


def test_nan_equals_nan_and_infinity_itself() -> None:
    result = floats([np.nan, np.inf, -np.inf])
    assert unlike(FP32, result, result.copy()) is None
    assert unlike(FP32, result, floats([np.nan, np.inf, np.inf])) == "infinite or undefined elements differ"
    assert unlike(FP32, floats([1.0]), floats([np.nan])) == "infinite or undefined elements differ"


def test_whole_numbers_and_text_are_exact() -> None:
    assert unlike(DataType.INT64, np.array([[10**15]]), np.array([[10**15 + 1]])) == "1 of 1 elements differ"
    texts = np.array([["a"], ["b"]], object)
    assert unlike(DataType.BYTES, texts, texts.copy()) is None
    assert unlike(DataType.BYTES, texts, texts[::-1]) == "2 of 2 elements differ"


@pytest.mark.parametrize(("datatype", "near", "far"), [(DataType.FP16, 1.01, 1.03), (DataType.BF16, 1.03, 1.1)])
def test_half_precision_rounds_more(datatype: DataType, near: float, far: float) -> None:
    def held(value: float) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
        if datatype is DataType.FP16:
            return np.array([[value]], np.float16)
        return (np.array([[value]], np.float32).view(np.uint32) >> 16).astype(np.uint16)

    assert unlike(datatype, held(1), held(near)) is None
    assert unlike(datatype, held(1), held(far)) is not None


def test_results_without_elements_are_alike() -> None:
    empty = np.empty((3, 0), np.float32)
    assert unlike(FP32, empty, empty.copy()) is None
    assert unlike(FP32, np.empty(0, np.float32), np.empty(0, np.float32)) is None


def test_a_result_of_nothing_but_nan_tells_nothing() -> None:
    assert not is_telling(FP32, floats([np.nan, np.inf]))
    assert is_telling(FP32, floats([np.nan, 1.0]))
    assert is_telling(FP32, np.empty((2, 0), np.float32))
    assert is_telling(DataType.INT64, np.array([0]))
