"""A model repository as it is laid out for Triton, config.pbtxt and all, seen through a stock client."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from shoal_testing import models
from shoal_testing.server import RunningServer, running_server
from shoal_testing.telling_models import plus
from shoal_testing.triton import eventually, first_column, given, rows, status

LIMITED = """
name: "limited"
platform: "onnxruntime_onnx"
max_batch_size: 4
input [ { name: "x" data_type: TYPE_FP32 dims: [ 2 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ 2 ] label_filename: "labels.txt" } ]
instance_group [ { count: 1 kind: KIND_CPU } ]
dynamic_batching { preferred_batch_size: [ 4 ] max_queue_delay_microseconds: 60000000 }
parameters { key: "owner" value { string_value: "tests" } }
"""

UNBATCHED = """
backend: "onnxruntime"
max_batch_size: 0
input [ { name: "x" data_type: TYPE_FP32 dims: [ -1, 2 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ -1, 2 ] } ]
"""

RESHAPED = """
max_batch_size: 8
input [ { name: "x" data_type: TYPE_FP32 dims: [ 4 ] reshape { shape: [ 2, 2 ] } } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ 2, 2 ] } ]
"""

POLICIES = {
    "newest": ("", [3]),
    "latest": ("version_policy { latest { num_versions: 2 } }", [2, 3]),
    "specific": ("version_policy { specific { versions: [ 1, 3 ] } }", [1, 3]),
    "every": ("version_policy { all { } }", [1, 2, 3]),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for name, config in (("limited", LIMITED), ("unbatched", UNBATCHED), ("wrong", 'name: "right"')):
        models.save(folder, name, models.identity())
        folder.joinpath(name, "config.pbtxt").write_text(config)
    folder.joinpath("limited", "labels.txt").write_text("left\nright\n")
    models.save(folder, "reshaped", models.identity("FP32", ["N", 2, 2]))
    folder.joinpath("reshaped", "config.pbtxt").write_text(RESHAPED)
    for name, (policy, _) in POLICIES.items():
        for version in (1, 2, 3):
            models.save(folder, name, plus(version), version)
        folder.joinpath(name, "config.pbtxt").write_text(policy)
    models.save(folder, "renamed", plus(5)).rename(folder / "renamed" / "1" / "network.onnx")
    folder.joinpath("renamed", "config.pbtxt").write_text('default_model_filename: "network.onnx"')
    return folder


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[RunningServer]:
    with running_server(folder) as running:
        yield running


@pytest.fixture
def client(served: RunningServer) -> Iterator[InferenceServerClient]:
    with InferenceServerClient(served.address) as opened:
        yield opened


def test_the_configuration_is_told_as_it_was_written_and_completed(client: InferenceServerClient) -> None:
    config = client.get_model_config("limited", as_json=True)["config"]
    assert config["name"] == "limited"
    assert (config["platform"], config["backend"]) == ("onnxruntime_onnx", "onnxruntime")
    assert config["max_batch_size"] == 4
    assert config["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": ["2"]}]
    assert [(each["name"], each["dims"]) for each in config["output"]] == [("y", ["2"])]
    assert config["dynamic_batching"]["preferred_batch_size"] == [4]
    assert config["dynamic_batching"]["max_queue_delay_microseconds"] == "60000000"
    assert [(group["count"], group["kind"]) for group in config["instance_group"]] == [(1, "KIND_CPU")]
    assert config["parameters"]["owner"] == {"string_value": "tests"}
    assert json.loads(config["parameters"]["shoal.labels.y"]["string_value"]) == ["left", "right"]


def test_metadata_adds_the_batch_dimension_that_the_configuration_leaves_out(client: InferenceServerClient) -> None:
    assert list(client.get_model_metadata("limited").inputs[0].shape) == [-1, 2]
    assert list(client.get_model_metadata("unbatched").inputs[0].shape) == [-1, 2]
    assert client.get_model_config("unbatched").config.max_batch_size == 0
    assert list(client.get_model_config("unbatched").config.input[0].dims) == [-1, 2]


def test_max_batch_size_bounds_a_request(client: InferenceServerClient) -> None:
    assert first_column(client.infer("limited", [rows(1, 2, 3, 4)])) == [1, 2, 3, 4]
    with pytest.raises(InferenceServerException) as caught:
        client.infer("limited", [rows(1, 2, 3, 4, 5)])
    assert status(caught.value) == "INVALID_ARGUMENT"
    assert caught.value.message() == "inference request batch-size must be <= 4 for 'limited', got 5"
    assert first_column(client.infer("unbatched", [rows(1, 2, 3, 4, 5)])) == [1, 2, 3, 4, 5]


def test_dynamic_batching_joins_requests_to_a_preferred_size(client: InferenceServerClient) -> None:
    before = int(client.get_inference_statistics("limited").model_stats[0].execution_count)
    with ThreadPoolExecutor(8) as threads:
        answers = threads.map(lambda number: first_column(client.infer("limited", [rows(number)])), range(8))
        assert list(answers) == [[number] for number in range(8)]

    def executions() -> int:
        return int(client.get_inference_statistics("limited").model_stats[0].execution_count) - before

    assert eventually(executions, 2) == 2


@pytest.mark.parametrize("model", POLICIES)
def test_the_version_policy_decides_what_is_served(client: InferenceServerClient, model: str) -> None:
    _, wanted = POLICIES[model]
    assert client.get_model_metadata(model).versions == [str(version) for version in wanted]
    assert first_column(client.infer(model, [rows(0)])) == [wanted[-1]]
    for version in (1, 2, 3):
        assert client.is_model_ready(model, str(version)) is (version in wanted)
        if version in wanted:
            assert first_column(client.infer(model, [rows(0)], model_version=str(version))) == [version]
        else:
            with pytest.raises(InferenceServerException) as caught:
                client.infer(model, [rows(0)], model_version=str(version))
            assert status(caught.value) == "NOT_FOUND"
            assert caught.value.message() == f"model '{model}' has no version '{version}'; it has {wanted}"


def test_the_model_may_lie_under_another_file_name(client: InferenceServerClient) -> None:
    assert first_column(client.infer("renamed", [rows(0)])) == [5]


def test_an_input_may_be_reshaped_on_its_way_to_the_model(client: InferenceServerClient) -> None:
    assert list(client.get_model_metadata("reshaped").inputs[0].shape) == [-1, 4]
    x = np.arange(8, dtype=np.float32).reshape(2, 4)
    assert client.infer("reshaped", [given("x", x)]).as_numpy("y").tolist() == x.reshape(2, 2, 2).tolist()


def test_a_configuration_that_is_wrong_keeps_its_model_out_and_says_why(client: InferenceServerClient) -> None:
    found = {model.name: model for model in client.get_model_repository_index().models if model.state != "READY"}
    assert list(found) == ["wrong"]
    assert found["wrong"].state == "UNAVAILABLE"
    assert "wrong/config.pbtxt: 'name' is 'right', wanted the folder's name, 'wrong'" in found["wrong"].reason
    assert client.is_server_ready() is True
