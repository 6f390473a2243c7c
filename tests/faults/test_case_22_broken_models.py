"""Case 22, and what else may lie in a repository: the broken are listed with their reasons, and the others serve."""

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from shoal.health import health_pb2
from shoal.inference import grpc_service_pb2 as pb
from shoal_testing import models
from shoal_testing.caller import Caller, request_of
from shoal_testing.refusals import assert_for_callers, assert_refused
from shoal_testing.server import RunningServer, running_server

INDEX = "/inference.GRPCInferenceService/RepositoryIndex"
LOAD = "/inference.GRPCInferenceService/RepositoryModelLoad"
CHECK = "/grpc.health.v1.Health/Check"
GOOD = models.identity("FP32", ["N", 2])
Save = Callable[[Path, str], object]
CONFIG = 'backend: "onnxruntime"\nmax_batch_size: 4\n'


def _bytes(content: bytes) -> Save:
    return lambda folder, name: models.save(folder, name, content)


def _beside(file: str, content: bytes | str) -> Save:
    def save(folder: Path, name: str) -> None:
        path = models.save(folder, name, GOOD).parents[1] / file
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    return save


def _folder_for_a_file(folder: Path, name: str) -> None:
    (folder / name / "1" / "model.onnx").mkdir(parents=True)


def _no_version(folder: Path, name: str) -> None:
    (folder / name).mkdir()


def _odd_versions(folder: Path, name: str) -> None:
    for version in ("0", "01", "-1", "one", "1.5", "99999999999999999999"):
        (folder / name / version).mkdir(parents=True)
        (folder / name / version / "model.onnx").write_bytes(GOOD)


def _link(target: str) -> Save:
    def save(folder: Path, name: str) -> None:
        (folder / name / "1").mkdir(parents=True)
        (folder / name / "1" / "model.onnx").symlink_to(target)

    return save


def _out_of_the_tree(folder: Path, name: str) -> None:
    outside = folder.parent / "outside.onnx"
    outside.write_bytes(GOOD)
    (folder / name / "1").mkdir(parents=True)
    (folder / name / "1" / "model.onnx").symlink_to(outside)


def _pipe(folder: Path, name: str) -> None:
    (folder / name / "1").mkdir(parents=True)
    os.mkfifo(folder / name / "1" / "model.onnx")


def _pipe_for_a_configuration(folder: Path, name: str) -> None:
    models.save(folder, name, GOOD)
    os.mkfifo(folder / name / "config.pbtxt")


def _socket(folder: Path, name: str) -> None:
    (folder / name / "1").mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(folder / name / "1")  # the path of a socket is short
        listener.bind("model.onnx")
        os.chdir(here)


def _weights_missing(folder: Path, name: str) -> None:
    path = folder / name / "1" / "model.onnx"
    models.with_external_data(path)
    (path.parent / "weights.bin").unlink()


def _weights_cut_off(folder: Path, name: str) -> None:
    path = folder / name / "1" / "model.onnx"
    models.with_external_data(path)
    os.truncate(path.parent / "weights.bin", 1000)


def _graph(operator: str, domain: str = "", opset: int = models.OPSET) -> bytes:
    node = helper.make_node(operator, ["x"], ["y"], domain=domain)
    dims: models.Dims = ["N", 2]
    return models.graph([node], [("x", TensorProto.FLOAT, dims)], [("y", TensorProto.FLOAT, dims)], opset=opset)


def _sequence_input() -> bytes:
    model = onnx.load_from_string(GOOD)
    tensor = helper.make_tensor_type_proto(TensorProto.FLOAT, None)
    model.graph.input[0].type.CopyFrom(helper.make_sequence_type_proto(tensor))
    model.graph.node[0].op_type = "ConcatFromSequence"
    model.graph.node[0].attribute.add(name="axis", i=0, type=onnx.AttributeProto.INT)
    return model.SerializeToString()


BROKEN: dict[str, Save] = {
    "truncated": _bytes(models.mlp()[:5000]),
    "empty": _bytes(b""),
    "zeros": _bytes(bytes(1000)),
    "a_web_page": _bytes(b"<!doctype html><title>404</title>"),
    "a_pointer_of_git_lfs": _bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n"),
    "unknown_operator": _bytes(_graph("Frobnicate")),
    "unknown_domain": _bytes(_graph("Frobnicate", "com.example")),
    "opset_of_the_future": _bytes(_graph("Identity", opset=9999)),
    "takes_a_sequence": _bytes(_sequence_input()),
    "folder_for_a_file": _folder_for_a_file,
    "no_version": _no_version,
    "odd_versions": _odd_versions,
    "dangling_link": _link("nowhere.onnx"),
    "circular_link": _link("model.onnx"),
    "device": _link("/dev/zero"),
    "out_of_the_tree": _out_of_the_tree,
    "pipe": _pipe,
    "socket": _socket,
    "pipe_for_a_configuration": _pipe_for_a_configuration,
    "weights_missing": _weights_missing,
    "weights_cut_off": _weights_cut_off,
    "config_is_no_text": _beside("config.pbtxt", b"\xff\xfe\x00"),
    "config_is_no_protobuf": _beside("config.pbtxt", "max_batch_size = 4"),
    "config_knows_more": _beside("config.pbtxt", CONFIG + "max_butch_size: 4"),
    "config_never_ends": _beside("config.pbtxt", 'parameters { key: "' + "x" * 1000),
    "config_is_huge": _beside("config.pbtxt", "#" * (64 << 20)),
    "config_nests": _beside("config.pbtxt", "input {" * 100_000),
    "config_contradicts": _beside("config.pbtxt", CONFIG + 'input { name: "z" data_type: TYPE_FP32 dims: [ 2 ] }'),
    "config_is_another_backend": _beside("config.pbtxt", 'backend: "python"'),
    "toml_is_no_toml": _beside("model.toml", "[batching\n"),
    "toml_knows_more": _beside("model.toml", "[batching]\nmax_row = 4\n"),
    "toml_is_out_of_range": _beside("model.toml", "[batching]\nmax_rows = -4\n"),
    "toml_is_of_another_kind": _beside("model.toml", "batching = 3\n"),
    "toml_is_no_text": _beside("model.toml", b"\xff\xfe\x00"),
}


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningServer, Path]]:
    folder = tmp_path_factory.mktemp("repository") / "models"
    models.save(folder, "good", GOOD)
    for name, save in BROKEN.items():
        save(folder, name)
    (folder / "a file of no interest.txt").write_text("hello")
    Path(os.fsdecode(os.fsencode(folder) + b"/not utf-8 \xff")).mkdir()
    (folder / "control\ncharacters\x1b[31m").mkdir()
    (folder / ".hidden").mkdir()
    with running_server(folder) as running:
        yield running, folder


@pytest.fixture
def ask(beside: tuple[RunningServer, Path]) -> Iterator[Caller]:
    with Caller(beside[0].address) as caller:
        yield caller
        row = np.array([[1, 2]], np.float32)
        np.testing.assert_array_equal(caller.infer(request_of("good", x=row)).array(), row)


def index(caller: Caller) -> dict[str, list[pb.RepositoryIndexResponse.ModelIndex]]:
    answer = pb.RepositoryIndexResponse.FromString(caller.call(b"", INDEX).message)
    found: dict[str, list[pb.RepositoryIndexResponse.ModelIndex]] = {}
    for model in answer.models:
        found.setdefault(model.name, []).append(model)
    return found


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_model_is_listed_with_its_reason_and_serves_nobody(
    ask: Caller, beside: tuple[RunningServer, Path], name: str
) -> None:
    entries = index(ask)[name]
    for entry in entries:
        assert entry.state == "UNAVAILABLE"
        assert entry.reason, "the reason is there"
        assert_for_callers(entry.reason)
        assert str(beside[1]) not in entry.reason
    x = request_of(name, x=np.array([[1, 2]], np.float32))
    assert_refused(ask.infer(x), "UNAVAILABLE", f"'{name}'")
    health = ask.call(health_pb2.HealthCheckRequest(service=name).SerializeToString(), CHECK)
    assert (
        health_pb2.HealthCheckResponse.FromString(health.message).status == health_pb2.HealthCheckResponse.NOT_SERVING
    )


@pytest.mark.parametrize("name", BROKEN)
def test_loading_a_broken_model_again_fails_with_the_reason_and_changes_nothing(ask: Caller, name: str) -> None:
    outcome = ask.call(pb.RepositoryModelLoadRequest(model_name=name).SerializeToString(), LOAD)
    assert_refused(outcome, "INVALID_ARGUMENT")


def test_what_is_no_model_by_its_name_harms_nobody(ask: Caller) -> None:
    found = index(ask)
    assert set(found) - set(BROKEN) - {"good"} == {"not utf-8 \\udcff", "control\\ncharacters\\x1b[31m"}
    assert ".hidden" not in found
    for name in set(found) - {"good"}:
        assert all(entry.state == "UNAVAILABLE" for entry in found[name]), name


def test_the_server_itself_is_ready(ask: Caller) -> None:
    health = ask.call(b"", CHECK)
    assert health_pb2.HealthCheckResponse.FromString(health.message).status == health_pb2.HealthCheckResponse.SERVING
