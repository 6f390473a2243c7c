from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from shoal_server.errors import ExecutionFailed, LoadFailed
from shoal_server.lifecycle.definition import Fill, Warmup, WarmupTensor
from shoal_server.runtime.warmup import run_warmup
from shoal_server.tensors.batch import Array
from shoal_server.tensors.datatype import DataType
from shoal_server.tensors.spec import TensorSpec

FP32, INT64, BYTES = DataType.FP32, DataType.INT64, DataType.BYTES
X = TensorSpec("x", FP32, ("N", 2))
OPTIONAL = TensorSpec("o", FP32, (1,), optional=True)


class Recorder:
    def __init__(self) -> None:
        self.runs: list[list[Array | None]] = []

    def __call__(self, arrays: Sequence[Array | None]) -> Sequence[Array]:
        self.runs.append(list(arrays))
        return []


def warmed(warmup: Warmup, *inputs: TensorSpec) -> list[list[Array | None]]:
    recorder = Recorder()
    run_warmup(warmup, inputs, recorder)
    return recorder.runs


def test_a_request_runs_as_often_as_declared() -> None:
    runs = warmed(Warmup("w", 3, {"x": WarmupTensor(FP32, (2,), Fill.ZERO)}, count=4), X)
    assert len(runs) == 4
    assert np.array_equal(runs[0][0], np.zeros((3, 2), np.float32))  # type: ignore[arg-type]


def test_without_rows_dims_are_the_whole_shape() -> None:
    (run,) = warmed(Warmup("w", 0, {"x": WarmupTensor(FP32, (5, 2), Fill.RANDOM)}), X)
    assert run[0] is not None
    assert run[0].shape == (5, 2)
    assert run[0].any()


def test_an_optional_input_may_be_left_out() -> None:
    (run,) = warmed(Warmup("w", 1, {"x": WarmupTensor(FP32, (2,), Fill.ZERO)}), X, OPTIONAL)
    assert run[1] is None


def test_a_files_first_row_is_repeated(tmp_path: Path) -> None:
    file = tmp_path / "raw"
    file.write_bytes(np.array([1, 2, 9], np.float32).tobytes())
    (run,) = warmed(Warmup("w", 3, {"x": WarmupTensor(FP32, (2,), Fill.FILE, file)}), X)
    assert np.array_equal(run[0], [[1, 2]] * 3)  # type: ignore[arg-type]


def test_a_file_may_hold_strings(tmp_path: Path) -> None:
    file = tmp_path / "raw"
    file.write_bytes(b"\x02\0\0\0ab\0\0\0\0\x01\0\0\0z")
    spec = TensorSpec("x", BYTES, ("N", 2))
    (run,) = warmed(Warmup("w", 2, {"x": WarmupTensor(BYTES, (2,), Fill.FILE, file)}), spec)
    assert run[0] is not None
    assert run[0].tolist() == [["ab", ""], ["ab", ""]]


def test_a_scalar_is_warmed_up_too() -> None:
    (run,) = warmed(Warmup("w", 0, {"x": WarmupTensor(INT64, (), Fill.ZERO)}), TensorSpec("x", INT64, None))
    assert run[0] is not None
    assert run[0].shape == ()


@pytest.mark.parametrize(
    ("warmup", "complaint"),
    [
        (Warmup("w", 1, {}), "warm-up 'w' lacks input 'x'"),
        (Warmup("w", 1, {"z": WarmupTensor(FP32, (2,), Fill.ZERO)}), "has input 'z', the model takes ['x']"),
        (Warmup("w", 1, {"x": WarmupTensor(INT64, (2,), Fill.ZERO)}), "has INT64 for input 'x', the model takes FP32"),
        (
            Warmup("w", 1, {"x": WarmupTensor(FP32, (2,), Fill.FILE, Path("/gone/raw"))}),
            "warm-up 'w', input 'x': raw cannot be read: No such file or directory",
        ),
    ],
)
def test_a_request_that_does_not_fit_is_refused(warmup: Warmup, complaint: str) -> None:
    with pytest.raises(LoadFailed) as failed:
        warmed(warmup, X)
    assert complaint in str(failed.value)


@pytest.mark.parametrize(
    ("datatype", "content"),
    [(FP32, b"1234567"), (BYTES, b"\x09\0\0\0short"), (BYTES, b"\x01\0\0\0\xff\x01\0\0\0a")],
)
def test_a_file_that_does_not_hold_a_row_is_refused(tmp_path: Path, datatype: DataType, content: bytes) -> None:
    file = tmp_path / "raw"
    file.write_bytes(content)
    with pytest.raises(LoadFailed, match="raw does not hold 2 elements"):
        warmed(
            Warmup("w", 1, {"x": WarmupTensor(datatype, (2,), Fill.FILE, file)}), TensorSpec("x", datatype, ("N", 2))
        )


def test_a_model_that_fails_on_a_warm_up_does_not_load() -> None:
    def failing(_arrays: Sequence[Array | None]) -> Sequence[Array]:
        raise ExecutionFailed("no such index")

    with pytest.raises(LoadFailed, match=r"^warm-up 'w' failed: no such index$"):
        run_warmup(Warmup("w", 1, {"x": WarmupTensor(FP32, (2,), Fill.ZERO)}), [X], failing)
