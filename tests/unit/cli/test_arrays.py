from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from shoal_server.cli import arrays
from shoal_server.cli.failure import MISUSED, Failure
from shoal_server.tensors.datatype import DataType

NUMBERS = [datatype for datatype in DataType if datatype not in (DataType.BYTES, DataType.BF16)]


def sent(text: str, datatype: DataType, dims: tuple[int, ...]) -> tuple[tuple[int, ...], bytes]:
    return arrays.encode("x", arrays.read(text), datatype, dims)


def refusal(text: str, datatype: DataType) -> str:
    with pytest.raises(Failure) as caught:
        sent(text, datatype, (-1,))
    assert caught.value.exit_code == MISUSED
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "datatype", "dims", "shape", "values"),
    [
        ("[[1, 2.5]]", DataType.FP32, (-1, 2), (1, 2), [1, 2.5]),
        ("[1, 2]", DataType.FP64, (-1, 2), (1, 2), [1, 2]),
        ("7", DataType.INT64, (-1, 1), (1, 1), [7]),
        ("7", DataType.INT64, (), (), [7]),
        ("[[7]]", DataType.INT64, (), (1, 1), [7]),
        ("[7]", DataType.INT64, (3, -1), (1,), [7]),
        ("[]", DataType.FP32, (-1,), (0,), []),
        ("[[], []]", DataType.FP32, (-1, -1), (2, 0), []),
        ("[true, false]", DataType.BOOL, (-1,), (2,), [True, False]),
        ("[255, 0]", DataType.UINT8, (-1,), (2,), [255, 0]),
        ("[18446744073709551615, 1]", DataType.UINT64, (-1,), (2,), [2**64 - 1, 1]),
        ("[9007199254740993]", DataType.INT64, (-1,), (1,), [2**53 + 1]),
        ("[NaN, Infinity]", DataType.FP16, (-1,), (2,), [np.nan, np.inf]),
    ],
)
def test_json_becomes_what_the_input_takes(
    text: str, datatype: DataType, dims: tuple[int, ...], shape: tuple[int, ...], values: list[float]
) -> None:
    got_shape, raw = sent(text, datatype, dims)
    assert got_shape == shape
    np.testing.assert_array_equal(np.frombuffer(raw, datatype.dtype), np.array(values, datatype.dtype))


def test_strings_travel_with_their_lengths() -> None:
    assert sent('["a", "\\u00fc", ""]', DataType.BYTES, (-1,)) == (
        (3,),
        b"\x01\x00\x00\x00a\x02\x00\x00\x00\xc3\xbc\x00\x00\x00\x00",
    )


@pytest.mark.parametrize(
    ("text", "datatype", "reason"),
    [
        ("[1.5]", DataType.INT32, "input 'x' takes INT32, whole numbers: got 1.5"),
        ("[true]", DataType.INT32, "whole numbers: got True"),
        ("[256]", DataType.UINT8, "takes UINT8, whole numbers from 0: "),
        ("[-1]", DataType.UINT64, "takes UINT64, whole numbers from 0: "),
        ("[1]", DataType.BOOL, "takes BOOL, true or false: got 1"),
        ('["1"]', DataType.FP32, "takes FP32, numbers: got '1'"),
        ("[null]", DataType.FP32, "takes FP32, numbers: got None"),
        ('[{"a": 1}]', DataType.FP32, "takes FP32, numbers: got {'a': 1}"),
        ("[1e39]", DataType.FP32, "takes FP32, numbers: "),
        ("[70000]", DataType.FP16, "takes FP16, numbers: "),
        ("[1]", DataType.BYTES, "takes BYTES, strings: got 1"),
        ('["a", 1]', DataType.BYTES, "takes BYTES, strings: got 1"),
        ("[[1, 2], [3]]", DataType.FP32, "lists side by side differ in length or depth"),
        ("[1, [2]]", DataType.FP32, "lists side by side differ in length or depth"),
        ("1;2", DataType.FP32, "is neither JSON nor @FILE"),
    ],
)
def test_a_value_of_another_kind_or_out_of_range_is_refused(text: str, datatype: DataType, reason: str) -> None:
    assert reason in refusal(text, datatype)


@pytest.mark.parametrize("datatype", NUMBERS)
def test_a_numpy_file_is_sent_as_it_is(tmp_path: Path, datatype: DataType, seed: int) -> None:
    wanted = np.random.default_rng(seed).integers(0, 2, (3, 2)).astype(datatype.dtype)
    np.save(tmp_path / "x.npy", wanted)
    shape, raw = sent(f"@{tmp_path}/x.npy", datatype, (-1, 2))
    assert (shape, raw) == ((3, 2), wanted.tobytes())


def test_a_numpy_file_of_another_type_is_converted_where_no_value_changes_its_kind(tmp_path: Path) -> None:
    np.save(tmp_path / "whole.npy", np.array([1, 300], np.int64))
    np.save(tmp_path / "half.npy", np.array([0.5]))
    np.save(tmp_path / "text.npy", np.array(["a", "bc"]))
    np.save(tmp_path / "huge.npy", np.array([1e300]))
    assert sent(f"@{tmp_path}/whole.npy", DataType.FP32, (-1,))[1] == np.array([1, 300], "<f4").tobytes()
    assert sent(f"@{tmp_path}/half.npy", DataType.FP16, (-1,))[1] == np.array([0.5], "<f2").tobytes()
    assert sent(f"@{tmp_path}/text.npy", DataType.BYTES, (-1,))[1] == b"\x01\0\0\0a\x02\0\0\0bc"
    assert "got numbers out of its range" in refusal(f"@{tmp_path}/whole.npy", DataType.UINT8)
    assert "got an array of float64" in refusal(f"@{tmp_path}/half.npy", DataType.INT8)
    assert "got an array of int64" in refusal(f"@{tmp_path}/whole.npy", DataType.BOOL)
    assert "takes FP32, numbers: overflow" in refusal(f"@{tmp_path}/huge.npy", DataType.FP32)


def test_a_json_file_is_read_like_json(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("[[1], [2]]")
    assert sent(f"@{tmp_path}/x.json", DataType.INT8, (-1, 1)) == ((2, 1), b"\x01\x02")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.npy").write_bytes(b"\x93NUMPY")
    (tmp_path / "pickled.npy").write_bytes(b"\x80\x04N.")
    assert (
        refusal(f"@{tmp_path}/gone.npy", DataType.FP32)
        == f"{tmp_path}/gone.npy cannot be read: No such file or directory"
    )
    assert "bad.npy is not what its name says" in refusal(f"@{tmp_path}/bad.npy", DataType.FP32)
    assert "pickled.npy is not what its name says" in refusal(f"@{tmp_path}/pickled.npy", DataType.FP32)
    (tmp_path / "table.csv").write_text("1,2")
    assert "table.csv is no JSON (arrays of numpy are @FILE.npy)" in refusal(f"@{tmp_path}/table.csv", DataType.FP32)


@given(npst.arrays(np.float32, 8, elements=st.floats(width=32)))
def test_bf16_is_rounded_as_ml_dtypes_rounds_it_and_comes_back(
    numbers: np.ndarray[tuple[int], np.dtype[np.float32]],
) -> None:
    shape, raw = arrays.encode("x", numbers, DataType.BF16, (-1,))
    rounded = numbers.astype(ml_dtypes.bfloat16)
    nan = np.isnan(numbers)
    np.testing.assert_array_equal(np.frombuffer(raw, "<u2")[~nan], rounded.view(np.uint16)[~nan])
    np.testing.assert_array_equal(arrays.decode("x", raw, DataType.BF16, shape), rounded.astype(np.float32))


@pytest.mark.parametrize("datatype", NUMBERS)
def test_an_output_comes_back_in_its_own_type(datatype: DataType) -> None:
    wanted = np.array([[0], [1]]).astype(datatype.dtype)
    got = arrays.decode("y", wanted.tobytes(), datatype, [2, 1])
    assert got.dtype == datatype.dtype
    np.testing.assert_array_equal(got, wanted)


def test_text_comes_back_as_text() -> None:
    got = arrays.decode("y", b"\x02\0\0\0\xc3\xbc\x01\0\0\0b", DataType.BYTES, [2, 1])
    assert got.tolist() == [["ü"], ["b"]]


@pytest.mark.parametrize(("datatype", "raw"), [(DataType.FP32, b"12345"), (DataType.BYTES, b"\x09\0\0\0a")])
def test_an_output_that_is_not_what_it_says_is_no_crash(datatype: DataType, raw: bytes) -> None:
    with pytest.raises(Failure, match=r"bytes for output 'y' of shape \[1\]"):
        arrays.decode("y", raw, datatype, [1])


def test_what_json_cannot_hold_becomes_a_string() -> None:
    assert arrays.plain(np.array([[1.5, np.nan], [np.inf, -np.inf]], np.float32)) == [[1.5, "nan"], ["inf", "-inf"]]
    assert arrays.plain(np.array(3)) == 3
    assert arrays.plain(np.array(np.nan)) == "nan"
