"""Server reflection by the stock database of descriptors (v1alpha), and by our own messages (v1)."""

from collections.abc import Iterator

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from shoal.reflection import reflection_pb2 as pb
from shoal_testing import models
from shoal_testing.server import RunningServer, running_server
from shoal_testing.wire import INFERENCE, REFLECTION, Wire

SERVICES = [
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "inference.GRPCInferenceService",
    "shoal.admin.v1.AdminService",
]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("models")
    models.save(folder, "echo", models.identity())
    with running_server(folder) as running:
        yield running


@pytest.fixture
def channel(served: RunningServer) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(served.address) as opened:
        yield opened


@pytest.fixture
def database(channel: grpc.Channel) -> ProtoReflectionDescriptorDatabase:
    return ProtoReflectionDescriptorDatabase(channel)


def ask(wire: Wire, *questions: pb.ServerReflectionRequest) -> list[pb.ServerReflectionResponse]:
    return list(wire.stream(REFLECTION, questions, pb.ServerReflectionResponse))


# --- v1alpha, as most tools ask it -----------------------------------------------------------------------------------


def test_the_services_are_listed(database: ProtoReflectionDescriptorDatabase) -> None:
    assert sorted(database.get_services()) == SERVICES


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_and_all_that_it_mentions_can_be_described(
    database: ProtoReflectionDescriptorDatabase, service: str
) -> None:
    pool = DescriptorPool(database)
    methods = pool.FindServiceByName(service).methods
    assert methods
    seen: set[str] = set()
    waiting = [message for method in methods for message in (method.input_type, method.output_type)]
    while waiting:
        message = waiting.pop()
        if message.full_name in seen:
            continue
        seen.add(message.full_name)
        assert pool.FindMessageTypeByName(message.full_name).fields_by_name.keys() == message.fields_by_name.keys()
        for field in message.fields:
            if field.enum_type is not None:
                assert pool.FindEnumTypeByName(field.enum_type.full_name).values
            if field.message_type is not None:
                waiting.append(field.message_type)


def test_an_inference_can_be_made_with_nothing_but_what_reflection_tells(
    database: ProtoReflectionDescriptorDatabase, channel: grpc.Channel
) -> None:
    pool = DescriptorPool(database)
    method = pool.FindServiceByName("inference.GRPCInferenceService").methods_by_name["ModelInfer"]
    request_type, answer_type = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
    contents = {"fp32_contents": [1.0, 2.0]}
    request = request_type(
        model_name="echo",
        id="7",
        inputs=[{"name": "x", "datatype": "FP32", "shape": [1, 2], "contents": contents}],
    )
    call = channel.unary_unary(
        INFERENCE + "ModelInfer",
        request_serializer=request_type.SerializeToString,
        response_deserializer=answer_type.FromString,
    )
    answer = call(request, timeout=10)
    assert getattr(answer, "id") == "7"  # noqa: B009 - a type made at run time has no fields that mypy knows
    assert list(getattr(answer, "raw_output_contents")) == [b"\0\0\x80?\0\0\0@"]  # noqa: B009 - as above


def test_what_does_not_exist_is_not_described(database: ProtoReflectionDescriptorDatabase) -> None:
    pool = DescriptorPool(database)
    with pytest.raises(KeyError):
        pool.FindMessageTypeByName("inference.Nothing")
    with pytest.raises(KeyError):
        pool.FindFileByName("no/such.proto")


# --- v1 --------------------------------------------------------------------------------------------------------------


def test_the_newer_name_of_reflection_answers_the_same(wire: Wire) -> None:
    question = pb.ServerReflectionRequest(host="h", list_services="")
    (answer,) = ask(wire, question)
    assert sorted(service.name for service in answer.list_services_response.service) == SERVICES
    assert answer.valid_host == "h"
    assert answer.original_request == question


@pytest.mark.parametrize(
    ("package", "symbol"),
    [
        ("inference", "GRPCInferenceService"),
        ("inference", "GRPCInferenceService.ModelInfer"),
        ("inference", "ModelInferRequest"),
        ("inference", "ModelInferRequest.InferInputTensor"),
        ("inference", "ModelInferRequest.id"),
        ("inference", "InferParameter.parameter_choice"),
        ("inference", "DataType"),
        ("inference", "TYPE_BF16"),
        ("grpc.health.v1", "HealthCheckResponse.ServingStatus"),
    ],
)
def test_a_symbol_of_any_kind_leads_to_its_file_and_what_that_imports(wire: Wire, package: str, symbol: str) -> None:
    (answer,) = ask(wire, pb.ServerReflectionRequest(file_containing_symbol=f"{package}.{symbol}"))
    files = [FileDescriptorProto.FromString(file) for file in answer.file_descriptor_response.file_descriptor_proto]
    known: set[str] = set()
    for file in files:
        assert known >= set(file.dependency), f"{file.name} comes before what it imports"
        known.add(file.name)
    assert files[-1].package == package


def test_a_stream_of_questions_is_answered_in_order_whatever_is_asked(wire: Wire) -> None:
    questions = [
        pb.ServerReflectionRequest(file_containing_symbol="inference.Nothing"),
        pb.ServerReflectionRequest(file_by_filename="nothing.proto"),
        pb.ServerReflectionRequest(),
        pb.ServerReflectionRequest(all_extension_numbers_of_type="inference.ModelInferRequest"),
        pb.ServerReflectionRequest(
            file_containing_extension=pb.ExtensionRequest(
                containing_type="inference.ModelInferRequest", extension_number=100
            )
        ),
        pb.ServerReflectionRequest(list_services=""),
    ]
    answers = ask(wire, *questions)
    assert [answer.original_request for answer in answers] == questions
    assert [answer.error_response.error_code for answer in answers] == [5, 5, 3, 0, 5, 0]
    assert answers[3].all_extension_numbers_response.base_type_name == "inference.ModelInferRequest"
    assert not answers[3].all_extension_numbers_response.extension_number


def test_a_question_that_is_no_message_ends_the_stream(wire: Wire) -> None:
    call = wire.stream(REFLECTION, [b"\xff\xff"], pb.ServerReflectionResponse)
    assert call.code() is grpc.StatusCode.INVALID_ARGUMENT
