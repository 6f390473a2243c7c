"""Files that cannot be served, each with a reason that its owner can act on; and those of several parts."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from shoal_server.errors import LoadFailed
from shoal_server.lifecycle.definition import ModelDefinition
from shoal_server.runtime import OrtLoader, loader
from shoal_server.runtime.ort_model import OrtModel
from shoal_testing import models

Load = Callable[..., OrtModel]

DIMS: models.Dims = ["N", 2]


def edited(change: Callable[[onnx.ModelProto], object]) -> bytes:
    model = onnx.load_from_string(models.mlp())
    change(model)
    return model.SerializeToString()


def refusal(load: Load, model: bytes | Path) -> str:
    with pytest.raises(LoadFailed) as failed:
        load(model)
    text = str(failed.value)
    assert text.startswith("model.onnx: ")
    assert "\n" not in text
    assert "onnxruntime_src" not in text
    return text.removeprefix("model.onnx: ")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9999])
def test_a_truncated_file_is_refused(load: Load, share: float) -> None:
    model = models.mlp()
    reason = refusal(load, model[: int(len(model) * share)])
    assert reason == "it is no ONNX model, or only a part of one (its protobuf message does not parse)"


def test_random_bytes_are_refused(load: Load) -> None:
    reason = refusal(load, np.random.default_rng(0).bytes(5000))
    assert reason.startswith("it is no ONNX model")


def test_an_empty_file_is_refused(load: Load) -> None:
    assert refusal(load, b"") == "it is empty"


def test_a_folder_is_refused(load: Load, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.mkdir()
    assert refusal(load, path) == "it is a folder, not a file"


def test_a_missing_file_is_refused(load: Load, tmp_path: Path) -> None:
    assert refusal(load, tmp_path / "model.onnx") == "it cannot be read: no such file or directory"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param(
            lambda m: setattr(m.opset_import[0], "version", 999), "Opset 999 is under development", id="opset"
        ),
        pytest.param(lambda m: setattr(m, "ir_version", 999), "Unsupported model IR version: 999", id="ir"),
        pytest.param(lambda m: setattr(m.graph.node[0], "op_type", "Frob"), "No Op registered for Frob", id="op"),
        pytest.param(
            lambda m: setattr(m.graph.node[0], "domain", "acme"), "No opset import for domain 'acme'", id="domain"
        ),
        pytest.param(
            lambda m: m.graph.node[0].input.__setitem__(0, "zz"), "Node input 'zz' is not a graph input", id="edge"
        ),
        pytest.param(lambda m: m.graph.initializer[0].dims.__setitem__(0, 63), "63", id="weights"),
    ],
)
def test_a_model_that_the_runtime_refuses_says_why(
    load: Load, change: Callable[[onnx.ModelProto], object], reason: str
) -> None:
    assert reason in refusal(load, edited(change))


def test_a_model_with_a_type_that_nobody_can_send_is_refused(load: Load) -> None:
    node = helper.make_node("SequenceConstruct", ["x", "x"], ["y"])
    model = onnx.load_from_string(models.graph([node], [("x", TensorProto.FLOAT, DIMS)], []))
    sequence = helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, DIMS))
    model.graph.output.append(helper.make_value_info("y", sequence))
    assert refusal(load, model.SerializeToString()) == (
        "output 'y' is seq(tensor(float)); the protocol carries tensors only"
    )


def test_strings_in_and_bf16_out_are_refused(load: Load) -> None:
    nodes = [
        helper.make_node("Cast", ["t"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["f"], ["y"], to=TensorProto.BFLOAT16),
    ]
    model = models.graph(nodes, [("t", TensorProto.STRING, DIMS)], [("y", TensorProto.BFLOAT16, DIMS)])
    assert refusal(load, model).startswith("it takes strings ('t') and gives 'y' in a type that numpy lacks")


@pytest.fixture
def external(tmp_path: Path) -> Path:
    path = tmp_path / "m" / "1" / "model.onnx"
    models.with_external_data(path)
    return path


def test_weights_beside_the_file_are_read(load: Load, external: Path) -> None:
    model = load(external)
    x = np.ones((3, 64), np.float32)
    session = ort.InferenceSession(models.mlp(), providers=["CPUExecutionProvider"])
    assert np.array_equal(model.run([x], None)[0], session.run(None, {"x": x})[0])


def test_missing_weights_are_named(load: Load, external: Path) -> None:
    external.with_name("weights.bin").unlink()
    reason = refusal(load, external)
    assert "weights.bin" in reason
    assert "does not exist" in reason


def test_weights_that_are_cut_off_are_named(load: Load, external: Path) -> None:
    with external.with_name("weights.bin").open("r+b") as file:
        file.truncate(1000)
    assert "file_length: 1000 are out of bounds" in refusal(load, external)


def test_weights_outside_of_the_models_folder_are_not_read(load: Load, external: Path) -> None:
    model = onnx.load(external, load_external_data=False)
    for entry in model.graph.initializer[0].external_data:
        if entry.key == "location":
            entry.value = "../../weights.bin"
    external.with_name("weights.bin").rename(external.parents[2] / "weights.bin")
    external.write_bytes(model.SerializeToString())
    assert "escapes model directory" in refusal(load, external)


@pytest.mark.parametrize("name", ["model.onnx", "weights.bin"])
def test_a_version_that_changes_while_it_is_loaded_is_refused(
    external: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow_read(path: Path) -> None:
        with path.with_name(name).open("ab") as file:
            file.write(b"\0")

    monkeypatch.setattr(loader, "require_readable", slow_read)
    with pytest.raises(LoadFailed, match=r"^model.onnx: it changed while it was being loaded$"):
        OrtLoader(1.0).load(ModelDefinition("m", {1: external}), 1, lambda: None)


def test_a_loaded_version_knows_whether_its_files_are_still_the_same(load: Load, external: Path) -> None:
    model = load(external)
    assert model.is_current()
    external.with_name("weights.bin").unlink()
    assert not model.is_current()


def test_a_path_may_have_any_characters(load: Load, tmp_path: Path) -> None:
    path = tmp_path / "größe 漢字 #1" / "model.onnx"
    path.parent.mkdir()
    path.write_bytes(models.mlp())
    assert load(path).signature.batched


def test_nothing_is_written_to_the_console(tmp_path: Path) -> None:
    good, bad = models.save(tmp_path, "good", models.gather()), models.save(tmp_path, "bad", b"nonsense")
    program = f"""
from pathlib import Path
from shoal_server.errors import ShoalError
from shoal_server.lifecycle.definition import ModelDefinition
from shoal_server.runtime import OrtLoader
import numpy as np
loader = OrtLoader(1.0)
model = loader.load(ModelDefinition("m", {{1: Path({str(good)!r})}}), 1, lambda: None)
for work in (
    lambda: model.run([np.array([[99]])], None),
    lambda: loader.load(ModelDefinition("m", {{1: Path({str(bad)!r})}}), 1, lambda: None),
):
    try:
        work()
    except ShoalError:
        continue
    raise SystemExit("it did not fail")
"""
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", program],
        capture_output=True,
        check=False,
        env={"PYTHONPATH": ":".join(sys.path)},
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
