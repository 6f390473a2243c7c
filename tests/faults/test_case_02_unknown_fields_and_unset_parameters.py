"""Case 2: fields that nobody knows, parameters of strange kinds, choices that were not made."""

import numpy as np
import pytest

from shoal.inference import grpc_service_pb2 as pb
from shoal_testing.caller import INFER, Caller, request_of
from shoal_testing.refusals import assert_refused

ROW = np.array([[1, 2]], np.float32)
LOAD = "/inference.GRPCInferenceService/RepositoryModelLoad"
UNLOAD = "/inference.GRPCInferenceService/RepositoryModelUnload"


def valid() -> pb.ModelInferRequest:
    return request_of("pair", x=ROW)


@pytest.mark.parametrize(
    "unknown",
    [
        b"\xf8\x07\x01",  # field 127, a number
        b"\xfa\x07\x03abc",  # field 127, bytes
        b"\xfb\x07\x08\x01\xfc\x07",  # field 127, a group
        b"\xf9\xff\xff\xff\x0f" + bytes(8),  # the last field number there is, 64 bits
        b"\x28\x01",  # inputs, as a number
        b"\x08\x01",  # model_name, as a number
    ],
)
def test_fields_that_nobody_knows_are_ignored(caller: Caller, unknown: bytes) -> None:
    outcome = caller.call(valid().SerializeToString() + unknown)
    np.testing.assert_array_equal(outcome.array(), ROW)


def test_parameters_that_nobody_knows_are_ignored_whatever_their_kind(caller: Caller) -> None:
    request = valid()
    request.parameters["unset"].SetInParent()
    request.parameters["bool"].bool_param = True
    request.parameters["int"].int64_param = -(2**63)
    request.parameters["uint"].uint64_param = 2**64 - 1
    request.parameters["double"].double_param = float("nan")
    request.parameters["text"].string_param = "\0" * 1000
    request.parameters[""].string_param = "nameless"
    request.parameters["importance"].string_param = "very"
    request.inputs[0].parameters["unset"].SetInParent()
    request.inputs[0].parameters["binary_data_size"].string_param = "8"
    np.testing.assert_array_equal(caller.infer(request).array(), ROW)


@pytest.mark.parametrize("kind", ["unset", "string", "bool", "double", "negative"])
def test_a_timeout_that_is_no_duration_is_refused(caller: Caller, kind: str) -> None:
    request = valid()
    timeout = request.parameters["timeout"]
    match kind:
        case "unset":
            timeout.SetInParent()
        case "string":
            timeout.string_param = "1000000"
        case "bool":
            timeout.bool_param = True
        case "double":
            timeout.double_param = 1e6
        case _:
            timeout.int64_param = -1
    assert_refused(caller.infer(request), "INVALID_ARGUMENT", "timeout")


@pytest.mark.parametrize("timeout_us", [0, 60_000_000, 2**63 - 1])
def test_a_timeout_may_be_as_long_as_the_number_allows(caller: Caller, timeout_us: int) -> None:
    request = valid()
    request.parameters["timeout"].int64_param = timeout_us
    np.testing.assert_array_equal(caller.infer(request).array(), ROW)
    request.parameters["timeout"].uint64_param = timeout_us * 2
    np.testing.assert_array_equal(caller.infer(request).array(), ROW)


@pytest.mark.parametrize("where", ["input", "output"])
def test_shared_memory_is_refused_as_not_offered_whatever_its_kind(caller: Caller, where: str) -> None:
    request = request_of("pair", "y", x=ROW)
    tensor = request.inputs[0] if where == "input" else request.outputs[0]
    tensor.parameters["shared_memory_region"].SetInParent()
    assert_refused(caller.infer(request), "UNIMPLEMENTED", "shared memory", "'x'" if where == "input" else "'y'")


def test_a_request_for_classification_is_refused_as_not_offered(caller: Caller) -> None:
    request = request_of("pair", "y", x=ROW)
    request.outputs[0].parameters["classification"].int64_param = 3
    assert_refused(caller.infer(request), "UNIMPLEMENTED", "classification", "'y'")


def test_load_parameters_are_refused_in_a_text_of_bounded_length(caller: Caller) -> None:
    request = pb.RepositoryModelLoadRequest(model_name="pair")
    for number in range(3000):
        request.parameters[f"config{number}"].SetInParent()
    assert_refused(caller.call(request.SerializeToString(), LOAD), "UNIMPLEMENTED", "config0")
    longest = pb.RepositoryModelLoadRequest(model_name="pair")
    longest.parameters["魚" * 5000].bytes_param = b"\xff"
    assert_refused(caller.call(longest.SerializeToString(), LOAD), "UNIMPLEMENTED", "魚")


def test_a_request_without_any_field_is_refused(caller: Caller) -> None:
    assert_refused(caller.call(b""), "NOT_FOUND", "''")
    assert_refused(caller.call(b"", LOAD), "NOT_FOUND", "''")
    assert_refused(caller.call(b"", UNLOAD), "NOT_FOUND", "''")


def test_the_last_of_a_repeated_field_counts_as_protobuf_has_it(caller: Caller) -> None:
    message = pb.ModelInferRequest(model_name="nobody").SerializeToString() + valid().SerializeToString()
    np.testing.assert_array_equal(caller.call(message, INFER).array(), ROW)
