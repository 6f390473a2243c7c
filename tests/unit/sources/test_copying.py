from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from shoal_server.sources.copying import content_fault, unfinished


@pytest.mark.parametrize(
    "name",
    [
        "model.onnx.tmp",
        "model.onnx.part",
        "model.onnx.partial",
        "model.onnx~",
        "model.onnx.filepart",
        "weights.bin.crdownload",
        "model.onnx_.gstmp",
        "model.onnx.incomplete",
        ".model.onnx.aB3xY9",
        ".model.onnx.QWERTY",
        ".~tmp~",
        "model.onnx.6eF7bC12",
    ],
)
def test_what_a_tool_calls_a_file_that_it_still_writes_is_recognised(name: str) -> None:
    assert unfinished(["model.onnx", name]) == name


@pytest.mark.parametrize(
    "name",
    [
        "model.onnx",
        "weights.bin",
        "model.onnx.data",
        "weights.20240131",
        ".env.sample",
        ".gitkeep",
        "labels.txt",
        "part",
        "tmp",
        "template",
    ],
)
def test_what_lies_beside_a_finished_model_is_no_sign_of_a_copy(name: str) -> None:
    assert unfinished(["model.onnx", name]) is None


def relu() -> bytes:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y])
    model = helper.make_model(graph, producer_name="test", doc_string="text")
    helper.set_model_props(model, {"key": "value"})
    return model.SerializeToString()


def fault_of(folder: Path, content: bytes) -> str | None:
    path = folder / "model.onnx"
    path.write_bytes(content)
    return content_fault(path, len(content))


def test_a_whole_model_passes(tmp_path: Path) -> None:
    assert fault_of(tmp_path, relu()) is None


def test_a_model_cut_off_within_a_part_is_recognised(tmp_path: Path) -> None:
    whole = relu()
    cut = [size for size in range(len(whole)) if fault_of(tmp_path, whole[:size]) is None]
    # Only a cut between two parts leaves something that a protobuf file could be.
    message = onnx.ModelProto()
    for size in cut:
        message.ParseFromString(whole[:size])
    assert len(cut) <= len(message.ListFields()) + 1
    assert fault_of(tmp_path, whole[:-1]) == (
        f"is cut off: it has {len(whole) - 1} bytes of at least {len(whole)}; is it still being copied?"
    )


def test_an_empty_file_is_no_model(tmp_path: Path) -> None:
    assert fault_of(tmp_path, b"") == "is empty"


def test_a_git_lfs_pointer_is_called_one(tmp_path: Path) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"
    assert fault_of(tmp_path, pointer) == "is a pointer of Git LFS, not the model: run 'git lfs pull'"


@pytest.mark.parametrize(
    "content", [b"not a model", b"\xff" * 100, b"PK\x03\x04zip", b"\x18\x00\x00\x00ORTM" + bytes(9), b"\x00"]
)
def test_what_is_no_onnx_file_is_left_to_the_runtime_to_judge(tmp_path: Path, content: bytes) -> None:
    assert fault_of(tmp_path, content) is None


def test_only_the_first_few_thousand_parts_are_looked_at(tmp_path: Path) -> None:
    assert fault_of(tmp_path, b"\x08\x08" * 4095 + b"\x3a\x7f") is not None
    assert fault_of(tmp_path, b"\x08\x08" * 4096 + b"\x3a\x7f") is None


def test_a_part_of_a_length_beyond_all_files_is_cut_off(tmp_path: Path) -> None:
    assert "is cut off" in (fault_of(tmp_path, b"\x3a" + b"\xff" * 8 + b"\x7f" + bytes(30)) or "")
