from collections.abc import Callable
from pathlib import Path

import pytest

from shoal_server.errors import LoadFailed
from shoal_server.lifecycle.definition import Fill, Warmup, WarmupTensor
from shoal_server.sources.settings import Settings
from shoal_server.tensors.datatype import DataType

Read = Callable[[str], Settings]


def sample(input_text: str, rows: int = 1) -> str:
    return f"model_warmup {{ batch_size: {rows} inputs {{ key: 'x' value {{ {input_text} }} }} }}"


ZEROS = "data_type: TYPE_FP32 dims: [3] zero_data: true"


def test_a_warm_up_of_each_kind_is_understood(read: Read, put: Callable[..., Path]) -> None:
    file = put("m/warmup/raw", bytes(12))
    settings = read(
        """
        max_batch_size: 8
        model_warmup {
          name: "first" batch_size: 4 count: 10
          inputs { key: "z" value { data_type: TYPE_FP32 dims: [3] zero_data: true } }
          inputs { key: "r" value { data_type: TYPE_INT64 dims: [] random_data: true } }
          inputs { key: "f" value { data_type: TYPE_FP32 dims: [1, 3] input_data_file: "raw" } }
        }
        model_warmup { batch_size: 1 inputs { key: "s" value { data_type: TYPE_STRING dims: [1] zero_data: true } } }
        """
    )
    assert settings.warmups == (
        Warmup(
            "first",
            4,
            {
                "z": WarmupTensor(DataType.FP32, (3,), Fill.ZERO),
                "r": WarmupTensor(DataType.INT64, (), Fill.RANDOM),
                "f": WarmupTensor(DataType.FP32, (1, 3), Fill.FILE, file),
            },
            10,
        ),
        Warmup("model_warmup[1]", 1, {"s": WarmupTensor(DataType.BYTES, (1,), Fill.ZERO)}),
    )
    assert settings.warnings == ()


@pytest.mark.parametrize(
    ("config", "rows"),
    [("max_batch_size: 8", 1), ("max_batch_size: 0", 0), ("input { name: 'x' } output { name: 'y' }", 0), ("", 1)],
)
def test_a_request_has_rows_where_dims_leave_them_out(read: Read, config: str, rows: int) -> None:
    assert [warmup.rows for warmup in read(f"{config} {sample(ZEROS)}").warmups] == [rows]


def test_a_request_of_no_rows_is_skipped_with_a_warning(read: Read) -> None:
    settings = read(f"max_batch_size: 8 {sample(ZEROS, rows=0)}")
    assert settings.warmups == ()
    assert settings.warnings == ("m/config.pbtxt: 'model_warmup[0]' is skipped: its batch_size is 0",)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"max_batch_size: 4 {sample(ZEROS, rows=5)}", "'model_warmup[0]' has batch_size 5, max_batch_size is 4"),
        (
            f"max_batch_size: 0 {sample(ZEROS, rows=2)}",
            "'model_warmup[0]' has batch_size 2, wanted 1: the model has no max_batch_size",
        ),
        (
            sample("dims: [3] zero_data: true"),
            "'model_warmup[0].inputs[x]' has no data_type of the protocol",
        ),
        (
            sample("data_type: 77 dims: [3] zero_data: true"),
            "'model_warmup[0].inputs[x]' has no data_type of the protocol",
        ),
        (
            sample("data_type: TYPE_FP32 dims: [-1] zero_data: true"),
            "'model_warmup[0].inputs[x]' has dims [-1], wanted every size given",
        ),
        (
            sample("data_type: TYPE_FP32 dims: [1073741824] zero_data: true", rows=3),
            "'model_warmup[0].inputs[x]' has 3221225472 elements, wanted at most 2147483648",
        ),
        (
            sample("data_type: TYPE_FP32 dims: [3]"),
            "'model_warmup[0].inputs[x]' has no data, wanted one of zero_data, random_data, input_data_file",
        ),
        (
            sample("data_type: TYPE_FP32 dims: [3] input_data_file: '../raw'"),
            "'model_warmup[0].inputs[x]' has input_data_file '../raw', which is no file's name: it has a slash",
        ),
        (
            sample("data_type: TYPE_FP32 dims: [3] input_data_file: 'none'"),
            "m/warmup/none cannot be read: no such file or directory",
        ),
        (
            sample("data_type: TYPE_FP32 dims: [3] input_data_file: 'short'"),
            "'model_warmup[0].inputs[x]' takes 12 bytes for dims [3] and FP32, m/warmup/short has 11",
        ),
    ],
)
def test_a_request_that_cannot_be_made_is_refused(read: Read, put: Callable[..., Path], text: str, reason: str) -> None:
    put("m/warmup/short", bytes(11))
    with pytest.raises(LoadFailed) as raised:
        read(text)
    assert str(raised.value).removeprefix("m/config.pbtxt: ") == reason


def test_data_that_leads_out_of_the_repository_is_refused(read: Read, root: Path, tmp_path: Path) -> None:
    (tmp_path / "raw").write_bytes(bytes(12))
    (root / "m").mkdir()
    (root / "m/warmup").symlink_to(tmp_path)
    with pytest.raises(LoadFailed, match=r"^m/warmup/raw leads out of the model repository$"):
        read(sample("data_type: TYPE_FP32 dims: [3] input_data_file: 'raw'"))
