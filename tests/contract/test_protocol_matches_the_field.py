"""Our descriptors say what the published ones say, name by name and number by number."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import onnx
import onnx.backend.test
import pytest
from google.protobuf import descriptor_pool, json_format, text_format
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)

from shoal import descriptors
from shoal.admin import admin_pb2
from shoal.health import health_pb2
from shoal.inference import grpc_service_pb2, model_config_pb2
from shoal.methods import METHODS
from shoal.onnx import model_pb2
from shoal.reflection import reflection_pb2

TRITON_FILES = ("tritonclient.grpc.service_pb2", "tritonclient.grpc.model_config_pb2")
KSERVE_FILE = "kserve.protocol.grpc.grpc_predict_v2_pb2"
HEALTH_FILE = "grpc_health.v1.health_pb2"
REFLECTION_FILE = "grpc_reflection.v1alpha.reflection_pb2"

# KServe has repository messages of its own under the same names, with other numbers. Triton's are the ones in use.
KSERVE_DIFFERS = {
    "inference.RepositoryModelLoadRequest.model_name",
    "inference.RepositoryModelLoadResponse.isLoaded",
    "inference.RepositoryModelLoadResponse.model_name",
    "inference.RepositoryModelUnloadRequest.model_name",
    "inference.RepositoryModelUnloadResponse.isUnloaded",
    "inference.RepositoryModelUnloadResponse.model_name",
}

# Published, but only by grpcio-health-checking 1.85 and newer, which not every installation has.
HEALTH_LIST = {
    "grpc.health.v1.Health.List": (
        "rpc (.grpc.health.v1.HealthListRequest) returns (.grpc.health.v1.HealthListResponse)"
    ),
    "grpc.health.v1.HealthListRequest": "message",
    "grpc.health.v1.HealthListResponse": "message",
    "grpc.health.v1.HealthListResponse.StatusesEntry": "message map_entry: true",
    "grpc.health.v1.HealthListResponse.StatusesEntry.key": "optional string = 1",
    "grpc.health.v1.HealthListResponse.StatusesEntry.value": "optional .grpc.health.v1.HealthCheckResponse = 2",
    "grpc.health.v1.HealthListResponse.statuses": ("repeated .grpc.health.v1.HealthListResponse.StatusesEntry = 1"),
}

PRINT_DESCRIPTOR = """
import importlib, sys
sys.stdout.write(importlib.import_module(sys.argv[1]).DESCRIPTOR.serialized_pb.hex())
"""


def facts(file: FileDescriptorProto) -> dict[str, str]:
    """Everything that a file declares, except comments, order and the file's own name: full name -> what it is."""
    found = dict(_facts_of_file(file))
    return {name: " ".join(fact.split()) for name, fact in found.items()}


def _facts_of_file(file: FileDescriptorProto) -> Iterator[tuple[str, str]]:
    yield file.package, f"package in {file.syntax or 'proto2'}"
    for message in file.message_type:
        yield from _facts_of_message(file.package, message)
    for enum in file.enum_type:
        yield from _facts_of_enum(file.package, enum)
    for service in file.service:
        for method in service.method:
            client, server = ("stream " * streams for streams in (method.client_streaming, method.server_streaming))
            yield (
                f"{file.package}.{service.name}.{method.name}",
                f"rpc ({client}{method.input_type}) returns ({server}{method.output_type}) {method.options}",
            )


def _facts_of_message(scope: str, message: DescriptorProto) -> Iterator[tuple[str, str]]:
    name = f"{scope}.{message.name}"
    yield name, f"message {message.options}"
    for field in message.field:
        oneof = f"in oneof {message.oneof_decl[field.oneof_index].name}" if field.HasField("oneof_index") else ""
        yield f"{name}.{field.name}", f"{_fact_of_field(field)} {oneof}"
    for nested in message.nested_type:
        yield from _facts_of_message(name, nested)
    for enum in message.enum_type:
        yield from _facts_of_enum(name, enum)


def _facts_of_enum(scope: str, enum: EnumDescriptorProto) -> Iterator[tuple[str, str]]:
    name = f"{scope}.{enum.name}"
    yield name, f"enum {enum.options}"
    for value in enum.value:
        yield f"{name}.{value.name}", f"= {value.number}"


def _fact_of_field(field: FieldDescriptorProto) -> str:
    label = FieldDescriptorProto.Label.Name(field.label).removeprefix("LABEL_").lower()
    kind = field.type_name or FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
    presence = "with presence" if field.proto3_optional else ""
    return f"{label} {kind} = {field.number} {field.default_value} {presence} {field.options}"


def ours(*files: FileDescriptor) -> dict[str, str]:
    return {name: fact for file in files for name, fact in facts(as_proto(file)).items()}


def as_proto(file: FileDescriptor) -> FileDescriptorProto:
    proto = FileDescriptorProto()
    file.CopyToProto(proto)
    return proto


def published(*modules: str) -> dict[str, str]:
    """Read descriptors in processes of their own: tritonclient and kserve cannot be imported into the same one."""
    found: dict[str, str] = {}
    for module in modules:
        command = [sys.executable, "-c", PRINT_DESCRIPTOR, module]
        result = subprocess.run(command, capture_output=True, check=True, text=True)  # noqa: S603 - our own script
        found |= facts(FileDescriptorProto.FromString(bytes.fromhex(result.stdout)))
    return found


def renamed(found: dict[str, str], old: str, new: str) -> dict[str, str]:
    return {name.replace(old, new): fact.replace(old, new) for name, fact in found.items()}


def test_everything_that_tritonclient_publishes_is_ours_and_we_add_nothing() -> None:
    theirs = published(*TRITON_FILES)

    mine = ours(grpc_service_pb2.DESCRIPTOR, model_config_pb2.DESCRIPTOR)

    assert theirs["inference.ModelConfig.dynamic_batching"] == (
        "optional .inference.ModelDynamicBatching = 11 in oneof scheduling_choice"
    )
    assert theirs["inference"] == "package in proto3"
    assert mine == theirs


@pytest.mark.timeout(50)  # importing kserve takes 4 s, and three times that on a busy machine
def test_everything_that_kserve_publishes_is_ours_but_its_own_repository_messages() -> None:
    theirs = published(KSERVE_FILE)

    mine = ours(grpc_service_pb2.DESCRIPTOR)

    assert theirs["inference.ModelInferRequest.raw_input_contents"] == "repeated bytes = 7"
    assert {name for name, fact in theirs.items() if mine.get(name) != fact} == KSERVE_DIFFERS


def test_our_health_protocol_is_the_published_one() -> None:
    assert ours(health_pb2.DESCRIPTOR) == HEALTH_LIST | published(HEALTH_FILE)


def test_our_reflection_protocol_is_the_published_alpha_under_its_final_name() -> None:
    theirs = published(REFLECTION_FILE)

    assert ours(reflection_pb2.DESCRIPTOR) == renamed(theirs, ".v1alpha", ".v1")


def test_our_part_of_onnx_is_a_part_of_the_published_whole() -> None:
    whole = facts(as_proto(onnx.onnx_ml_pb2.DESCRIPTOR))

    part = renamed(ours(model_pb2.DESCRIPTOR), "shoal.onnx", "onnx")

    assert part["onnx.GraphProto.output"] == "repeated .onnx.ValueInfoProto = 12"
    assert {name: whole.get(name) for name in part} == part


def test_no_message_of_ours_is_in_the_process_wide_pool() -> None:
    for module in (grpc_service_pb2, model_config_pb2, health_pb2, reflection_pb2, model_pb2, admin_pb2):
        assert module.DESCRIPTOR.pool is descriptors.Default()
        assert descriptors.Default().FindFileByName(module.DESCRIPTOR.name).serialized_pb
        with pytest.raises(KeyError):
            descriptor_pool.Default().FindFileByName(module.DESCRIPTOR.name)


def test_every_method_is_listed_with_the_messages_and_the_streaming_that_its_service_declares() -> None:
    infer = METHODS["/inference.GRPCInferenceService/ModelInfer"]
    stream = METHODS["/inference.GRPCInferenceService/ModelStreamInfer"]
    watch = METHODS["/grpc.health.v1.Health/Watch"]

    assert (infer.request, infer.response) == (grpc_service_pb2.ModelInferRequest, grpc_service_pb2.ModelInferResponse)
    assert (infer.client_streaming, infer.server_streaming) == (False, False)
    assert (stream.client_streaming, stream.server_streaming) == (True, True)
    assert (watch.client_streaming, watch.server_streaming) == (False, True)
    assert {path: method.path for path, method in METHODS.items()} == {path: path for path in METHODS}
    assert len(METHODS) == 20 + 3 + 2 + 8


def test_reflection_is_listed_under_its_older_name_too() -> None:
    final = METHODS["/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"]
    alpha = METHODS["/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"]

    assert (alpha.request, alpha.response) == (final.request, final.response)


CONFIG = """
name: "ranker"
backend: "onnxruntime"
max_batch_size: 64
input [ { name: "x" data_type: TYPE_FP32 dims: [ -1, 4 ] reshape: { shape: [ -1, 2, 2 ] } } ]
output [ { name: "y" data_type: TYPE_STRING dims: [ 1 ] label_filename: "labels.txt" } ]
version_policy: { specific: { versions: [ 1, 3 ] } }
instance_group [ { count: 2 kind: KIND_CPU } ]
dynamic_batching {
  preferred_batch_size: [ 8, 16 ]
  max_queue_delay_microseconds: 250
  priority_levels: 2
  priority_queue_policy: { key: 1 value: { timeout_action: DELAY max_queue_size: 10 } }
}
optimization { execution_accelerators { cpu_execution_accelerator: [ { name: "openvino" } ] } }
parameters { key: "intra_op_thread_count" value: { string_value: "2" } }
model_warmup [ {
  name: "zeros"
  batch_size: 1
  inputs { key: "x" value: { data_type: TYPE_FP32 dims: [ 3, 4 ] zero_data: true } }
} ]
"""


def test_a_configuration_is_the_same_after_text_json_and_bytes() -> None:
    config = text_format.Parse(CONFIG, model_config_pb2.ModelConfig())

    assert config.WhichOneof("scheduling_choice") == "dynamic_batching"
    assert config.dynamic_batching.priority_queue_policy[1].max_queue_size == 10
    assert text_format.Parse(text_format.MessageToString(config), model_config_pb2.ModelConfig()) == config
    assert json_format.Parse(json_format.MessageToJson(config), model_config_pb2.ModelConfig()) == config
    assert model_config_pb2.ModelConfig.FromString(config.SerializeToString()) == config


MODEL_FILES = sorted(Path(onnx.backend.test.__file__).parent.glob("data/**/model.onnx")) + sorted(
    Path(onnx.backend.test.__file__).parent.glob("data/light/*.onnx")
)


def test_every_model_file_that_onnx_ships_means_the_same_after_parsing_and_serialising() -> None:
    assert len(MODEL_FILES) > 100
    for path in MODEL_FILES:
        content = path.read_bytes()

        again = model_pb2.ModelProto.FromString(content).SerializeToString()

        assert onnx.ModelProto.FromString(again) == onnx.ModelProto.FromString(content), path
        assert len(again) == len(content), path


def classifier_with_zipmap() -> onnx.ModelProto:
    """A linear classifier of 2 features and 3 classes, as scikit-learn's are exported, with every kind of leftover."""
    linear = onnx.helper.make_node(
        "LinearClassifier",
        ["x"],
        ["label", "scores"],
        domain="ai.onnx.ml",
        coefficients=[1.0, -1.0, 0.5, 0.25, -2.0, 0.0],
        intercepts=[0.0, 0.5, -0.5],
        classlabels_strings=["no", "maybe", "ä"],
        multi_class=0,
        post_transform="SOFTMAX",
    )
    zipmap = onnx.helper.make_node(
        "ZipMap", ["scores"], ["zipped"], domain="ai.onnx.ml", classlabels_strings=["no", "maybe", "ä"]
    )
    floats = onnx.helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, [])
    zipped = onnx.helper.make_sequence_type_proto(onnx.helper.make_map_type_proto(onnx.TensorProto.STRING, floats))
    graph = onnx.helper.make_graph(
        [linear, zipmap],
        "classifier",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["rows", 2])],
        [
            onnx.helper.make_tensor_value_info("label", onnx.TensorProto.STRING, ["rows"]),
            onnx.helper.make_value_info("zipped", zipped),
        ],
        [onnx.helper.make_tensor("unused", onnx.TensorProto.INT64, [2], [0, 1])],
    )
    opsets = [onnx.helper.make_opsetid("", 21), onnx.helper.make_opsetid("ai.onnx.ml", 3)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10, producer_name="test", model_version=0)
    onnx.helper.set_model_props(model, {"owner": "nobody"})
    onnx.checker.check_model(model)
    return model


def test_a_classifier_means_the_same_after_parsing_and_serialising() -> None:
    model = classifier_with_zipmap()
    assert model.HasField("model_version")

    again = onnx.ModelProto.FromString(model_pb2.ModelProto.FromString(model.SerializeToString()).SerializeToString())

    assert again == model
    assert again.HasField("model_version"), "a field written as zero is still written"


def test_a_zipmap_can_be_found_read_and_taken_out() -> None:
    model = model_pb2.ModelProto.FromString(classifier_with_zipmap().SerializeToString())

    (zipmap,) = (node for node in model.graph.node if (node.domain, node.op_type) == ("ai.onnx.ml", "ZipMap"))
    (labels,) = (attribute.strings for attribute in zipmap.attribute if attribute.name == "classlabels_strings")
    assert [label.decode() for label in labels] == ["no", "maybe", "ä"]
    (output,) = (output for output in model.graph.output if output.name == zipmap.output[0])
    assert output.type.sequence_type.elem_type.map_type.key_type == onnx.TensorProto.STRING
    output.name = zipmap.input[0]
    output.type.tensor_type.elem_type = output.type.sequence_type.elem_type.map_type.value_type.tensor_type.elem_type
    output.type.tensor_type.shape.dim.add(dim_param="rows")
    output.type.tensor_type.shape.dim.add(dim_value=len(labels))
    model.graph.node.remove(zipmap)

    edited = onnx.ModelProto.FromString(model.SerializeToString())
    onnx.checker.check_model(edited)
    assert [node.op_type for node in edited.graph.node] == ["LinearClassifier"]
    assert edited.graph.initializer[0].name == "unused"
    assert edited.graph.output[1] == onnx.helper.make_tensor_value_info("scores", onnx.TensorProto.FLOAT, ["rows", 3])
