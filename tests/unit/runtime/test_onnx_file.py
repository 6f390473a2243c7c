from pathlib import Path

import onnx
import pytest
from google.protobuf.message import DecodeError

from shoal.onnx.model_pb2 import ModelProto
from shoal_server.runtime.onnx_file import stored_texts, without_zipmaps
from shoal_testing import models, zipmap_models


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.onnx"


def test_zipmaps_go_and_what_they_took_comes_out(path: Path) -> None:
    path.write_bytes(zipmap_models.zipmaps())
    unzipped = without_zipmaps(path)
    assert unzipped.sources == {"by_number": "plain", "by_name": "negative"}
    assert unzipped.labels == {"by_number": ("7", "9"), "by_name": ("no", "yés")}
    graph = ModelProto.FromString(b"".join(unzipped.parts)).graph
    assert [node.op_type for node in graph.node] == ["Add", "Neg"]
    assert [output.name for output in graph.output] == ["plain", "negative"]


def test_everything_else_in_a_model_stays_as_it_was(path: Path) -> None:
    path.write_bytes(models.mlp())
    assert onnx.load_from_string(b"".join(without_zipmaps(path).parts)) == onnx.load_from_string(models.mlp())


@pytest.mark.parametrize("content", [b"\xff" * 100, b"", b"\x08\x09", b"\x3a\x7f", b"\x3a\x02\x0b\x00"])
def test_what_is_no_model_is_told_apart(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises((DecodeError, ValueError)):
        without_zipmaps(path)
    assert stored_texts(path) == ()
    assert stored_texts(path.with_name("gone")) == ()


def test_nodes_too_large_to_be_a_zipmap_are_not_parsed(path: Path) -> None:
    model = onnx.load_from_string(zipmap_models.zipmaps())
    model.graph.node.append(onnx.helper.make_node("Forest", ["x"], ["z"], leaves=["word" * 100] * 4000))
    path.write_bytes(model.SerializeToString())
    assert stored_texts(path) == (("no", "yés"),)
    del model.graph.node[2:4]
    assert [node.op_type for node in onnx.load_from_string(b"".join(without_zipmaps(path).parts)).graph.node] == [
        node.op_type for node in model.graph.node
    ]


def test_strings_that_a_model_knows_are_found(path: Path) -> None:
    path.write_bytes(zipmap_models.zipmaps())
    assert stored_texts(path) == (("no", "yés"),)


def test_large_files_are_not_searched_for_strings(path: Path) -> None:
    path.write_bytes(zipmap_models.zipmaps())
    with path.open("r+b") as file:
        file.truncate((16 << 20) + 1)
    assert stored_texts(path) == ()
