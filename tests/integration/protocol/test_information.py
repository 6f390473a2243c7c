"""What a stock client can ask about the server and its models."""

import json
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import pytest
from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from shoal_testing import models, whole_models, zipmap_models
from shoal_testing.server import RunningServer, running_server
from shoal_testing.telling_models import plus
from shoal_testing.triton import status


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("models")
    models.save(folder, "echo", models.identity())
    models.save(folder, "gather", models.gather())
    models.save(folder, "fixed", whole_models.fixed_batch(2))
    models.save(folder, "scalars", whole_models.scalars())
    models.save(folder, "optional", models.optional_input())
    models.save(folder, "all_types", models.all_types())
    models.save(folder, "zipmap", zipmap_models.zipmaps())
    for number in (1, 3):
        models.save(folder, "versions", plus(number), number)
    folder.joinpath("versions", "model.toml").write_text(
        "[versions]\nall = true\n[batching]\nmax_rows = 8\ndelay_ms = 1.5\n[runtime]\ninstances = 1\n"
    )
    folder.joinpath("broken", "1").mkdir(parents=True)
    folder.joinpath("broken", "1", "model.onnx").write_bytes(b"no model")
    with running_server(folder) as running:
        yield running


def tensors(metadata: Any) -> list[tuple[str, str, list[int]]]:  # noqa: ANN401 - tritonclient has no types
    return [(tensor.name, tensor.datatype, list(tensor.shape)) for tensor in metadata]


def test_a_server_that_serves_is_live_and_ready(client: InferenceServerClient) -> None:
    assert client.is_server_live() is True
    assert client.is_server_ready() is True


def test_the_server_says_its_name_its_version_and_what_it_offers(
    served: RunningServer, client: InferenceServerClient
) -> None:
    metadata = client.get_server_metadata()
    assert (metadata.name, metadata.version) == ("shoal", version("shoal"))
    assert {"binary_tensor_data", "model_configuration", "model_repository", "statistics"} <= set(metadata.extensions)
    assert f"shoal_transport({served.server.transport_name})" in metadata.extensions
    assert not {"classification", "cuda_shared_memory", "sequence", "trace"} & set(metadata.extensions)


@pytest.mark.parametrize(
    ("model", "number", "ready"),
    [
        ("echo", "", True),
        ("echo", "1", True),
        ("echo", "2", False),
        ("versions", "", True),
        ("versions", "1", True),
        ("versions", "2", False),
        ("versions", "3", True),
        ("broken", "", False),
        ("broken", "1", False),
        ("nobody", "", False),
        ("", "", False),
    ],
)
def test_a_model_is_ready_where_it_can_be_called(
    client: InferenceServerClient, model: str, number: str, *, ready: bool
) -> None:
    assert client.is_model_ready(model, number) is ready


def test_metadata_tells_names_types_and_shapes_with_the_batch_dimension(client: InferenceServerClient) -> None:
    metadata = client.get_model_metadata("gather")
    assert (metadata.name, list(metadata.versions), metadata.platform) == ("gather", ["1"], "onnxruntime_onnx")
    assert tensors(metadata.inputs) == [("ids", "INT64", [-1, -1])]
    assert tensors(metadata.outputs) == [("vectors", "FP32", [-1, -1, 4])]


def test_metadata_of_fixed_and_scalar_shapes_is_what_the_model_takes(client: InferenceServerClient) -> None:
    assert tensors(client.get_model_metadata("fixed").inputs) == [("x", "FP32", [2, 3])]
    assert tensors(client.get_model_metadata("scalars").inputs) == [("x", "FP32", []), ("n", "INT64", [])]
    assert tensors(client.get_model_metadata("scalars").outputs) == [("y", "FP32", [])]


def test_metadata_knows_every_type(client: InferenceServerClient) -> None:
    metadata = client.get_model_metadata("all_types")
    kinds = [datatype for datatype in models.ONNX_TYPES if datatype != "BF16"]
    assert tensors(metadata.inputs) == [(f"in_{kind.lower()}", kind, [-1, 2]) for kind in kinds]
    assert tensors(metadata.outputs) == [(f"out_{kind.lower()}", kind, [-1, 2]) for kind in kinds]


def test_metadata_lists_the_ready_versions_or_the_one_asked_about(client: InferenceServerClient) -> None:
    assert client.get_model_metadata("versions").versions == ["1", "3"]
    assert client.get_model_metadata("versions", "1").versions == ["1"]


def test_metadata_as_json_reads_like_tritons(client: InferenceServerClient) -> None:
    assert client.get_model_metadata("echo", as_json=True) == {
        "name": "echo",
        "versions": ["1"],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": ["-1", "2"]}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": ["-1", "2"]}],
    }


def test_the_configuration_of_a_batched_model_leaves_the_batch_dimension_out(client: InferenceServerClient) -> None:
    config = client.get_model_config("versions", as_json=True)["config"]
    assert config["name"] == "versions"
    assert config["platform"] == "onnxruntime_onnx"
    assert config["backend"] == "onnxruntime"
    assert config["max_batch_size"] == 8
    assert config["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": ["2"]}]
    assert config["output"] == [{"name": "y", "data_type": "TYPE_FP32", "dims": ["2"]}]
    assert config["dynamic_batching"]["max_queue_delay_microseconds"] == "1500"
    assert config["instance_group"] == [{"name": "versions", "kind": "KIND_CPU", "count": 1}]
    assert config["version_policy"] == {"all": {}}
    assert "trials" in config["parameters"]["shoal.batching"]["string_value"]
    assert config["parameters"]["shoal.tuning"]["string_value"].startswith("1 x 1 thread")
    assert config["parameters"]["shoal.tuning.max_rows"]["string_value"] == "8"
    cost = {
        name: float(config["parameters"][f"shoal.cost.{name}"]["string_value"])
        for name in ("base_us", "row_us", "deviation_us", "batches")
    }
    assert min(cost.values()) >= 0.0
    assert cost["base_us"] + cost["row_us"] > 0.0
    assert cost["batches"] >= 4, "runs of 1, 2, 4 and 8 rows"


def test_the_configuration_of_an_unbatched_model_has_whole_shapes(client: InferenceServerClient) -> None:
    config = client.get_model_config("fixed").config
    assert config.max_batch_size == 0
    assert not config.HasField("dynamic_batching")
    assert list(config.input[0].dims) == [2, 3]
    assert config.parameters["shoal.batching"].string_value


def test_the_configuration_marks_inputs_that_may_be_left_out(client: InferenceServerClient) -> None:
    config = client.get_model_config("optional").config
    assert {tensor.name: tensor.optional for tensor in config.input} == {"x": False, "factor": True}


def test_the_configuration_knows_every_type(client: InferenceServerClient) -> None:
    config = client.get_model_config("all_types", as_json=True)["config"]
    kinds = ["STRING" if kind == "BYTES" else kind for kind in models.ONNX_TYPES if kind != "BF16"]
    assert [tensor["data_type"] for tensor in config["input"]] == [f"TYPE_{kind}" for kind in kinds]


def test_class_labels_of_a_zipmap_are_in_the_configuration(client: InferenceServerClient) -> None:
    parameters = client.get_model_config("zipmap").config.parameters
    assert json.loads(parameters["shoal.labels.by_name"].string_value) == ["no", "yés"]
    assert json.loads(parameters["shoal.labels.by_number"].string_value) == ["7", "9"]


@pytest.mark.parametrize("question", ["get_model_metadata", "get_model_config", "get_inference_statistics"])
def test_what_is_not_there_cannot_be_asked_about(client: InferenceServerClient, question: str) -> None:
    ask = getattr(client, question)
    for arguments, wanted, complaint in (
        (("nobody", ""), "NOT_FOUND", "unknown model 'nobody'"),
        (("echo", "2"), "NOT_FOUND", "model 'echo' has no version '2'; it has [1]"),
        (("broken", ""), "UNAVAILABLE", "model 'broken' has no ready version"),
        (("broken", "1"), "UNAVAILABLE", "version 1 of model 'broken' is failed"),
    ):
        with pytest.raises(InferenceServerException) as caught:
            ask(*arguments)
        assert status(caught.value) == wanted
        assert caught.value.message().startswith(complaint)
