"""Case 8: names that no model has. No file is touched for them, and nothing is remembered of them."""

import builtins
import gc
import io
import os
import threading
from collections.abc import Callable
from typing import Any

import pytest

from shoal.health import health_pb2
from shoal.inference import grpc_service_pb2 as pb
from shoal.reflection import reflection_pb2
from shoal_testing.caller import INFER, Caller
from shoal_testing.refusals import assert_for_callers, assert_refused

INFERENCE = "/inference.GRPCInferenceService/"
REFLECTION = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"

NAMES = {
    "empty": "",
    "a space": " ",
    "a space at the end": "pair ",
    "another case": "PAIR",
    "a dot": ".",
    "two dots": "..",
    "a parent": "../x",
    "a way back": "nobody/../pair",
    "a version": "pair/1",
    "a file": "pair/1/model.onnx",
    "from the root": "/etc/passwd",
    "backslashes": "..\\..\\x",
    "a NUL": "pair\0",
    "control characters": "\x01\x07\x1b[2J\r\n\x7f",
    "right to left": "\u202epair",
    "a device": "con",
    "an option": "--help",
    "255 letters": "n" * 255,
    "300 letters": "n" * 300,
    "10 kB": "x" * 10_000,
    "10 kB of fish": "魚" * 3334,
}

ASK: dict[str, Callable[[str], bytes]] = {
    INFER: lambda name: pb.ModelInferRequest(model_name=name).SerializeToString(),
    INFERENCE + "ModelMetadata": lambda name: pb.ModelMetadataRequest(name=name).SerializeToString(),
    INFERENCE + "ModelConfig": lambda name: pb.ModelConfigRequest(name=name).SerializeToString(),
    INFERENCE + "ModelStatistics": lambda name: pb.ModelStatisticsRequest(name=name).SerializeToString(),
    INFERENCE + "RepositoryModelLoad": lambda name: pb.RepositoryModelLoadRequest(model_name=name).SerializeToString(),
    INFERENCE + "RepositoryModelUnload": lambda name: pb.RepositoryModelUnloadRequest(
        model_name=name
    ).SerializeToString(),
    "/grpc.health.v1.Health/Check": lambda name: health_pb2.HealthCheckRequest(service=name).SerializeToString(),
}
ANSWERS_ALL = {"/grpc.health.v1.Health/Check", INFERENCE + "ModelStatistics"}
"""What an empty name means everything to."""


@pytest.fixture
def touched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths that the server's threads look at while the test runs."""
    paths: list[str] = []
    mine = threading.get_ident()

    def watch(module: Any, name: str) -> None:  # noqa: ANN401 - whatever module has it
        original = getattr(module, name)

        def watched(*arguments: Any, **more: Any) -> Any:  # noqa: ANN401 - those of what is watched
            if threading.get_ident() != mine and arguments and isinstance(arguments[0], str | bytes | os.PathLike):
                paths.append(os.fsdecode(arguments[0]))
            return original(*arguments, **more)

        monkeypatch.setattr(module, name, watched)

    for name in ("stat", "lstat", "scandir", "listdir", "open", "readlink", "access"):
        watch(os, name)
    watch(builtins, "open")
    watch(io, "open")
    return paths


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_an_odd_name_is_not_found_by_any_method_and_no_file_is_touched(
    caller: Caller, touched: list[str], name: str
) -> None:
    for path, message in ASK.items():
        outcome = caller.call(message(name), path)
        if not name and path in ANSWERS_ALL:
            assert outcome.status == "OK"
        else:
            assert_refused(outcome, "NOT_FOUND", "unknown", ascii(name)[1:20] if name.isascii() else "'")
    ready = caller.call(pb.ModelReadyRequest(name=name).SerializeToString(), INFERENCE + "ModelReady")
    assert not pb.ModelReadyResponse.FromString(ready.message).ready
    assert [path for path in touched if not _may_be_asked_for(path, name)] == []


def test_a_name_that_a_model_could_have_is_looked_for_in_the_repository_alone(
    caller: Caller, touched: list[str]
) -> None:
    """Also the proof that what is touched is seen here."""
    path = INFERENCE + "RepositoryModelLoad"
    assert_refused(caller.call(ASK[path]("nobody"), path), "NOT_FOUND", "'nobody'")
    assert any(path.endswith("/nobody") for path in touched), touched
    assert all(_may_be_asked_for(path, "nobody") for path in touched), touched


def _may_be_asked_for(path: str, name: str) -> bool:
    """Of a name that a folder could have, that very folder in the repository may be looked for."""
    plain = name.isprintable() and "/" not in name and "\\" not in name and len(name) <= 255
    return plain and (path.endswith("/" + name) or path.rpartition("/")[2].startswith("models"))


@pytest.mark.parametrize(
    "version", ["0", "-1", "+1", "01x", "1.0", "\uff11", "\u00b2", "9" * 10_000, "../1", "\0", " 1", "1 "]
)
def test_an_odd_version_is_not_found(caller: Caller, version: str) -> None:
    for path, message in {
        INFER: pb.ModelInferRequest(model_name="pair", model_version=version),
        INFERENCE + "ModelMetadata": pb.ModelMetadataRequest(name="pair", version=version),
        INFERENCE + "ModelConfig": pb.ModelConfigRequest(name="pair", version=version),
        INFERENCE + "ModelStatistics": pb.ModelStatisticsRequest(name="pair", version=version),
    }.items():
        assert_refused(caller.call(message.SerializeToString(), path), "NOT_FOUND", "'pair'", "it has [1]")


def test_odd_questions_to_reflection_are_answered_in_band(caller: Caller) -> None:
    kind = reflection_pb2.ServerReflectionRequest
    extension = reflection_pb2.ExtensionRequest
    asked = [
        kind(),
        kind(host="\0" * 1000),
        *[kind(file_by_filename=name) for name in NAMES.values()],
        *[kind(file_containing_symbol=name) for name in NAMES.values()],
        *[kind(all_extension_numbers_of_type=name) for name in NAMES.values()],
        *[
            kind(file_containing_extension=extension(containing_type=name, extension_number=number))
            for name in ("", "nobody", "inference.ModelInferRequest", "google.protobuf.FieldOptions")
            for number in (-(2**31), -1, 0, 1, 19_000, 2**29, 2**31 - 1)
        ],
    ]
    received, outcome = caller.exchange([message.SerializeToString() for message in asked], REFLECTION)
    assert outcome.status == "OK", outcome
    answers = [reflection_pb2.ServerReflectionResponse.FromString(message) for message in received]
    assert [answer.original_request for answer in answers] == asked
    for answer in answers:
        assert answer.error_response.error_code in (3, 5), answer
        assert_for_callers(answer.error_response.error_message)


def test_nothing_is_remembered_of_names_that_do_not_exist(caller: Caller) -> None:
    mark = "no-such-model-"
    for path, message in ASK.items():
        assert _statuses(caller, path, [message(f"{mark}{number}") for number in range(200)]) == {"NOT_FOUND"}, path
    gc.unfreeze()  # what modules hold is looked through, too
    gc.collect()
    holders = [item for item in gc.get_objects() if isinstance(item, dict | set | list) and _has(item, mark)]
    assert holders == []


def _statuses(caller: Caller, path: str, messages: list[bytes]) -> set[str]:
    calls = [caller.begin(message, path) for message in messages]
    return {call.outcome().status for call in calls}


def _has(container: "dict[Any, Any] | set[Any] | list[Any]", mark: str) -> bool:
    try:
        return any(isinstance(key, str) and key.startswith(mark) for key in container)
    except RuntimeError:  # it changed meanwhile, as those do that a running server needs
        return False
