"""Case 9: messages, metadata and numbers of parts beyond the bounds: memory stays flat, and nobody is kept waiting."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from time import monotonic

import grpc
import numpy as np
import pytest

from shoal.inference import grpc_service_pb2 as pb
from shoal_server.rpc.wire import field_header, varint
from shoal_testing import models
from shoal_testing.caller import INFER, Caller, request_of
from shoal_testing.process import ServerProcess, server_process
from shoal_testing.refusals import assert_refused

MIB = 1 << 20
ROW = np.array([[1, 2]], np.float32)
VALID = request_of("pair", x=ROW)
LOAD = "/inference.GRPCInferenceService/RepositoryModelLoad"
CHECK = "/grpc.health.v1.Health/Check"
REFLECTION = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"

PATIENCE_S = 5.0  # of the others, on a busy machine; it was 90 s before there were bounds


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServerProcess, str]]:
    """A server on its own, whose memory can be told from ours."""
    folder = tmp_path_factory.mktemp("served")
    models.save(folder / "models", "pair", models.identity("FP32", ["N", 2]))
    models.save(folder / "models", "text", models.identity("BYTES", ["N", 1]))
    models.save(folder / "models", "vector", models.identity("INT64", ["N"]))
    with server_process("models", "--log-level", "warning", folder=folder) as server:
        address = server.ready_address()
        with Caller(address) as caller:
            assert caller.infer(VALID).status == "OK"
        yield server, address


def field(number: int, content: bytes) -> bytes:
    return field_header(number, len(content)) + content


def tensor(*fields: bytes, model: bytes = b"pair") -> bytes:
    """Return a request with one input of these fields."""
    return field(1, model) + field(5, b"".join([field(1, b"x"), *fields]))


def parameters(count: int) -> bytes:
    """Return so many parameters with names of six digits, all different, and without values; made by numpy."""
    digits = np.frombuffer(b"0123456789abcdef", np.uint8)[np.arange(count)[:, None] >> np.arange(20, -4, -4) & 15]
    heads = np.broadcast_to(np.frombuffer(b"\x22\x08\n\x06", np.uint8), (count, 4))
    return np.hstack([heads, digits]).tobytes()


BOMBS: dict[str, tuple[Callable[[], bytes], str]] = {
    "8 million inputs": (lambda: field(1, b"pair") + b"\x2a\x00" * (8 * MIB), "fields"),
    "8 million outputs": (lambda: field(1, b"pair") + b"\x32\x00" * (8 * MIB), "fields"),
    "8 million raw contents": (lambda: field(1, b"pair") + b"\x3a\x00" * (8 * MIB), "fields"),
    "2 million parameters": (lambda: parameters(2 * MIB), "fields"),
    "2 million parameters of an input": (lambda: tensor(parameters(2 * MIB)), "fields"),
    "8 million unknown fields": (lambda: b"\xf8\x07\x01" * (8 * MIB), "fields"),
    "groups in groups": (lambda: b"\xfb\x07" * (4 * MIB) + b"\xfc\x07" * (4 * MIB), "fields"),
    "50 million dimensions": (lambda: tensor(field(3, b"\x01" * (50 * MIB))), "'x' has more than 32 dimensions"),
    "a model's name of 60 MiB": (lambda: field(1, b"\x01" * (60 * MIB)), "name"),
    "an input's name of 60 MiB": (lambda: field(1, b"pair") + field(5, field(1, b"\x01" * (60 * MIB))), "name"),
    "an element type of 60 MiB": (lambda: tensor(field(2, b"\x01" * (60 * MIB))), "element type"),
    "32 million typed numbers": (
        lambda: tensor(
            field(2, b"INT64"),
            field(3, varint(32 * MIB)),
            field(5, field(3, b"\x01" * (32 * MIB))),
            model=b"vector",
        ),
        "use raw_input_contents",
    ),
    "8 million typed strings": (
        lambda: tensor(
            field(2, b"BYTES"),
            field(3, varint(8 * MIB) + b"\x01"),
            field(5, b"\x42\x00" * (8 * MIB)),
            model=b"text",
        ),
        "strings",
    ),
    "8 million raw strings": (
        lambda: (
            tensor(field(2, b"BYTES"), field(3, varint(8 * MIB) + b"\x01"), model=b"text") + field(7, bytes(32 * MIB))
        ),
        "'x' has 8388608 BYTES elements",
    ),
    "8 million raw strings where one is due": (
        lambda: tensor(field(2, b"BYTES"), field(3, b"\x01\x01"), model=b"text") + field(7, bytes(32 * MIB)),
        "'x' takes 1 BYTES elements",
    ),
}


@pytest.mark.parametrize(("make", "word"), BOMBS.values(), ids=BOMBS)
def test_a_message_of_too_many_parts_is_refused_in_no_time_and_little_memory(
    process: tuple[ServerProcess, str], make: Callable[[], bytes], word: str
) -> None:
    server, address = process
    message = make()
    assert len(message) < 64 * MIB, "it is within the bound of messages"
    server.forget_peak()
    before_bytes = server.resident_bytes()
    with Caller(address) as foe, Caller(address) as friend, ThreadPoolExecutor(1) as threads:
        attack = threads.submit(foe.call, message)
        slowest_s = 0.0
        while not attack.done():
            began_s = monotonic()
            assert friend.infer(VALID).status == "OK"
            slowest_s = max(slowest_s, monotonic() - began_s)
        assert_refused(attack.result(), "INVALID_ARGUMENT", word)
    assert slowest_s < PATIENCE_S
    # The message itself comes in pieces, is put together, and lies there as bytes: three times its size.
    assert server.resident_bytes(peak=True) - before_bytes < 3 * len(message) + 64 * MIB


@pytest.mark.parametrize("path", [LOAD, CHECK])
def test_small_questions_have_small_bounds(process: tuple[ServerProcess, str], path: str) -> None:
    server, address = process
    server.forget_peak()
    before_bytes = server.resident_bytes()
    message = b"\x1a\x02\x0a\x00" * (8 * MIB)
    with Caller(address) as caller:
        assert_refused(caller.call(message, path), "INVALID_ARGUMENT", "at most", str(len(message)))
        received, outcome = caller.exchange([message], REFLECTION)
        assert received == []
        assert_refused(outcome, "INVALID_ARGUMENT", "at most", str(len(message)))
    assert server.resident_bytes(peak=True) - before_bytes < 3 * len(message) + 64 * MIB


@pytest.mark.parametrize("kind", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_a_small_message_that_unpacks_to_a_large_one_is_refused_while_it_is_unpacked(
    process: tuple[ServerProcess, str], kind: grpc.Compression
) -> None:
    server, address = process
    server.forget_peak()
    before_bytes = server.resident_bytes()
    with Caller(address) as caller:
        outcome = caller.call(bytes(200 * MIB), compression=kind)
        assert_refused(outcome, "RESOURCE_EXHAUSTED", "larger than max")
        assert caller.infer(VALID, compression=kind).status == "OK", "honest ones are welcome"
    assert server.resident_bytes(peak=True) - before_bytes < 130 * MIB


def test_a_message_over_the_limit_is_refused_before_it_is_there(process: tuple[ServerProcess, str]) -> None:
    server, address = process
    server.forget_peak()
    before_bytes = server.resident_bytes()
    with Caller(address) as caller:
        assert_refused(caller.call(bytes(200 * MIB)), "RESOURCE_EXHAUSTED", "larger than max", str(64 * MIB))
        assert caller.infer(VALID).status == "OK"
    assert server.resident_bytes(peak=True) - before_bytes < 100 * MIB


def test_a_message_at_the_limit_is_served(process: tuple[ServerProcess, str]) -> None:
    _, address = process
    row = np.arange(8 * MIB - 16, dtype=np.int64)
    with Caller(address) as caller:
        assert caller.infer(request_of("vector", x=row)).answer.raw_output_contents[0] == row.tobytes()


@pytest.mark.parametrize(
    "metadata",
    [
        [("pad", "x" * (64 << 10))],
        [("pad-bin", bytes(64 << 10))],
        [(f"key{number}", "x" * 1000) for number in range(64)],
    ],
    ids=["one of 64 KiB", "one of 64 KiB in binary", "64 of 1 KiB"],
)
def test_metadata_beyond_the_limit_are_refused(
    process: tuple[ServerProcess, str], metadata: list[tuple[str, str | bytes]]
) -> None:
    _, address = process
    with Caller(address) as caller:
        outcome = caller.infer(VALID, metadata=metadata)
        assert outcome.status == "RESOURCE_EXHAUSTED", outcome
        assert caller.infer(VALID).status == "OK"


@pytest.mark.parametrize(
    "metadata",
    [
        [("some-bin", bytes(range(256)))],
        [("grpc-trace-bin", b"\xff" * 100)],
        [("traceparent", "not-a-trace")],
        [("x", "same")] * 50,
        [("pad", "x" * 10_000)],
    ],
)
def test_metadata_that_nobody_asked_for_change_nothing(
    process: tuple[ServerProcess, str], metadata: list[tuple[str, str | bytes]]
) -> None:
    _, address = process
    with Caller(address) as caller:
        assert caller.infer(VALID, metadata=metadata).status == "OK"


def test_a_request_that_is_large_only_in_its_raw_contents_passes_the_look(process: tuple[ServerProcess, str]) -> None:
    """What is looked for are parts, not bytes; and what is looked at must still be read aright by protobuf."""
    _, address = process
    request = pb.ModelInferRequest(model_name="vector", id="i" * 100_000)
    for number in range(500):
        request.parameters[f"key{number}"].string_param = "v" * 100
    tensor = request.inputs.add(name="x", datatype="INT64", shape=[1000])
    tensor.contents.int64_contents.extend(range(-500, 500))
    with Caller(address) as caller:
        answer = caller.call(request.SerializeToString(), INFER).answer
    assert answer.id == request.id
    assert np.frombuffer(answer.raw_output_contents[0], np.int64).tolist() == list(range(-500, 500))
