"""Case 1: bytes that are no message."""

import random

import numpy as np
import pytest

from shoal.methods import METHODS
from shoal_testing.caller import INFER, Caller, request_of
from shoal_testing.refusals import assert_for_callers, assert_refused

STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"
WATCH = "/grpc.health.v1.Health/Watch"
REFLECTION = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
NOT_OFFERED = ("SharedMemory", "TraceSetting", "LogSettings")
UNARY = [
    path
    for path, method in METHODS.items()
    if not method.server_streaming and not any(word in path for word in NOT_OFFERED)
]

BROKEN = {
    "a field that is cut off": b"\x0a\x05pa",
    "a group that never ends": b"\x0b",
    "an end of a group that never began": b"\x0c",
    "field number 0": b"\x02\x01x",
    "a wire type that does not exist": b"\x0e",
    "a number without an end": b"\xff" * 11,
    "a length beyond 2 GiB": b"\x0a\xff\xff\xff\xff\x0f",
    "a length that overflows 64 bits": b"\x0a" + b"\xff" * 9 + b"\x7f",
    "1,000 nested groups": b"\x0b" * 1000,
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("path", UNARY)
def test_bytes_that_are_no_message_are_an_invalid_argument_of_every_method(
    caller: Caller, path: str, broken: bytes
) -> None:
    assert_refused(caller.call(broken, path), "INVALID_ARGUMENT", METHODS[path].request.DESCRIPTOR.name)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (INFER, b"\x0a\x02\xff\xfe"),  # model_name
        (INFER, b"\x0a\x04pair\x2a\x03\x0a\x01\xff"),  # inputs.name
        (INFER, b"\x0a\x03\xed\xa0\x80"),  # half of a surrogate pair
        (INFER, b"\x0a\x02\xc0\x80"),  # an overlong NUL
        ("/grpc.health.v1.Health/Check", b"\x0a\x01\xff"),
        ("/inference.GRPCInferenceService/RepositoryModelLoad", b"\x12\x01\xff"),
    ],
)
def test_text_that_is_not_utf_8_is_an_invalid_argument(caller: Caller, path: str, message: bytes) -> None:
    assert_refused(caller.call(message, path), "INVALID_ARGUMENT")


@pytest.mark.parametrize("path", [STREAM, REFLECTION, WATCH])
def test_a_stream_names_what_it_was_sent_instead_of_blaming_itself(caller: Caller, path: str) -> None:
    received, outcome = caller.exchange([b"\xff\xff"], path)
    if path == STREAM:
        assert outcome.status == "OK"
        [message] = received
        assert b"malformed request" in message
    else:
        assert_refused(outcome, "INVALID_ARGUMENT", "malformed request", METHODS[path].request.DESCRIPTOR.name)


def test_every_truncation_of_a_request_has_a_definite_end(caller: Caller) -> None:
    request = request_of("pair", "y", x=np.ones((2, 2), np.float32))
    request.parameters["timeout"].int64_param = 10_000_000
    whole = request.SerializeToString()
    calls = [caller.begin(whole[:size]) for size in range(len(whole))]
    outcomes = [call.outcome() for call in calls]
    assert {outcome.status for outcome in outcomes} == {"INVALID_ARGUMENT", "NOT_FOUND"}
    for outcome in outcomes:
        assert_for_callers(outcome.text)


def test_random_bytes_and_flipped_bits_never_meet_an_internal_error(caller: Caller, seed: int) -> None:
    random_bytes = random.Random(seed)
    whole = bytearray(request_of("pair", x=np.ones((1, 2), np.float32)).SerializeToString())
    messages = [random_bytes.randbytes(random_bytes.randrange(200)) for _ in range(300)]
    for _ in range(300):
        flipped = bytearray(whole)
        for _ in range(random_bytes.randrange(1, 4)):
            flipped[random_bytes.randrange(len(flipped))] ^= 1 << random_bytes.randrange(8)
        messages.append(bytes(flipped))
    calls = [(message, caller.begin(message)) for message in messages]
    for message, call in calls:
        outcome = call.outcome()
        assert outcome.status in ("OK", "INVALID_ARGUMENT", "NOT_FOUND"), f"{outcome} of {message!r}, seed {seed}"
        assert_for_callers(outcome.text)
