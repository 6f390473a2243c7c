"""grpc-js calls, with what it reads from our proto files: what it gets is what grpcio's client gets."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from shoal_testing import models
from shoal_testing.at_rest import assert_at_rest, wait_until_held
from shoal_testing.caller import INFER, Array
from shoal_testing.certificates import ADMIN, CALLER, Authority
from shoal_testing.gated import gated
from shoal_testing.listening import METADATA_BYTES, PATH, Listening, listening
from shoal_testing.node_caller import NodeCaller, why_not_node
from shoal_testing.server import RunningServer, running_server
from shoal_testing.trusted import LIST_MODELS, TrustedServer, trusted_server

pytestmark = pytest.mark.skipif(bool(why_not_node()), reason=str(why_not_node()))

STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"
CHECK, WATCH = "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"
UNLOAD = "/inference.GRPCInferenceService/RepositoryModelUnload"
LOAD = "/inference.GRPCInferenceService/RepositoryModelLoad"
ODD_TEXT = "größer als 100 %, 日本語\n\t\x7f %41 €🐟"
GZIP = 2


def infer(array: Array, request_id: str = "", model: str = "pair") -> dict[str, object]:
    return {
        "model_name": model,
        "id": request_id,
        "inputs": [{"name": "x", "datatype": "FP32", "shape": list(array.shape)}],
        "raw_input_contents": [base64.b64encode(array.tobytes()).decode()],
    }


def array_of(answer: dict[str, Any]) -> Array:
    data = base64.b64decode(answer["raw_output_contents"][0])
    return np.frombuffer(data, np.float32).reshape(answer["outputs"][0]["shape"])


def rows(count: int) -> Array:
    return np.arange(2 * count, dtype=np.float32).reshape(count, 2)


@pytest.fixture(scope="module")
def server(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp(kind)
    models.save(folder, "pair", models.identity("FP32", ["N", 2]))
    models.save(folder, "other", models.identity("FP32", ["N", 2]))
    with running_server(folder, runtime={"slots": 1}) as running:
        yield running
        assert_at_rest(running)


@pytest.fixture
def node(server: RunningServer) -> Iterator[NodeCaller]:
    with NodeCaller(server.address) as caller:
        yield caller


@pytest.mark.parametrize("count", [1, 1000, 1_000_000], ids=["8 bytes", "8 KB", "8 MB"])
def test_raw_contents_come_back_as_the_model_makes_them(node: NodeCaller, count: int) -> None:
    sent = rows(count)
    got = node.call(INFER, infer(sent, "mine"))
    assert (got.status, got.text) == ("OK", "")
    [answer] = got.messages
    np.testing.assert_array_equal(array_of(answer), sent)
    assert (answer["model_name"], answer["model_version"], answer["id"]) == ("pair", "1", "mine")


def test_a_hundred_calls_at_once_get_each_their_own(node: NodeCaller) -> None:
    calls = [node.begin(INFER, infer(rows(2) + number)) for number in range(100)]
    for number, call in enumerate(calls):
        np.testing.assert_array_equal(array_of(call.message()), rows(2) + number)
        assert call.ended().status == "OK"


def test_compressed_requests_are_read(server: RunningServer) -> None:
    with NodeCaller(server.address, options={"grpc.default_compression_algorithm": GZIP}) as node:
        got = node.call(INFER, infer(np.zeros((10_000, 2), np.float32)))
        assert got.status == "OK"
        assert not array_of(got.messages[0]).any()


def test_a_stream_answers_each_message_while_it_is_open(node: NodeCaller) -> None:
    stream = node.begin(STREAM)
    for number in range(20):
        stream.write(infer(rows(1) + number, str(number)))
        answer = stream.message()
        assert answer.get("error_message", "") == ""
        np.testing.assert_array_equal(array_of(answer["infer_response"]), rows(1) + number)
    stream.write(infer(rows(1), "odd", model="größe"))
    assert "unknown" in stream.message()["error_message"]
    stream.end()
    ended = stream.ended()
    assert (ended.status, len(ended.messages)) == ("OK", 21)


def test_a_deadline_ends_the_call_at_the_client_and_at_the_server(server: RunningServer, node: NodeCaller) -> None:
    with gated(server, "pair") as gate:
        first = node.begin(INFER, infer(rows(1)))
        gate.wait_for_run()
        late = node.begin(INFER, infer(rows(1) + 50), deadline_s=0.3)
        wait_until_held(server, waiting=1)
        assert late.ended().status == "DEADLINE_EXCEEDED"
        wait_until_held(server, waiting=0)
        gate.open()
        assert first.ended().status == "OK"
        assert gate.rows_seen() == {0.0}


def test_who_cancels_is_never_computed(server: RunningServer, node: NodeCaller) -> None:
    with gated(server, "pair") as gate:
        first = node.begin(INFER, infer(rows(1)))
        gate.wait_for_run()
        calls = [node.begin(INFER, infer(rows(1) + number)) for number in range(1, 11)]
        stream = node.begin(STREAM)
        stream.write(infer(rows(1) + 50))
        wait_until_held(server, waiting=11)
        for call in (*calls[::2], stream):
            call.cancel()
        wait_until_held(server, waiting=5)
        gate.open()
        assert [call.ended().status for call in calls] == ["CANCELLED", "OK"] * 5
        assert (first.ended().status, stream.ended().status) == ("OK", "CANCELLED")
        assert gate.rows_seen() == {0.0, 2.0, 4.0, 6.0, 8.0, 10.0}


@pytest.mark.parametrize("path", ["/inference.GRPCInferenceService/Nothing", "/no.Service/Method"])
def test_a_method_that_is_not_there_is_unimplemented(node: NodeCaller, path: str) -> None:
    got = node.call(path, "")
    assert got.status == "UNIMPLEMENTED"
    assert got.text


def test_errors_of_inferences_have_their_status_and_text(node: NodeCaller) -> None:
    unknown = node.call(INFER, infer(rows(1), model="none"))
    assert unknown.status == "NOT_FOUND"
    assert "none" in unknown.text
    assert node.call(INFER, {**infer(rows(1)), "raw_input_contents": ["AAAA"]}).status == "INVALID_ARGUMENT"


def test_health_is_told_and_watched(node: NodeCaller) -> None:
    assert node.call(CHECK, {"service": ""}).messages == [{"status": "SERVING"}]
    assert node.call(CHECK, {"service": "nothing"}).status == "NOT_FOUND"
    watch = node.begin(WATCH, {"service": "other"})
    assert watch.message() == {"status": "SERVING"}
    assert node.call(UNLOAD, {"model_name": "other"}).status == "OK"
    assert watch.message() == {"status": "NOT_SERVING"}
    assert node.call(LOAD, {"model_name": "other"}).status == "OK"
    assert watch.message() == {"status": "SERVING"}
    watch.cancel()
    assert watch.ended().status == "CANCELLED"


@pytest.fixture(scope="module")
def bare(kind: str) -> Iterator[Listening]:
    """The transport alone, whose routes answer as they are told."""
    with listening(kind) as running:
        yield running


@pytest.fixture
def bare_node(bare: Listening) -> Iterator[NodeCaller]:
    with NodeCaller(bare.address) as caller:
        yield caller


@pytest.mark.parametrize("text", [ODD_TEXT, "", "%", "é" * 500], ids=["odd", "none", "percent", "long"])
def test_texts_and_trailers_arrive_as_they_were_told(bare_node: NodeCaller, text: str) -> None:
    wanted = json.dumps([9, text, [["reason", "told"], ["odd-bin", [0, 255, 10]]]])
    got = bare_node.call(PATH + "Fail", base64.b64encode(wanted.encode()).decode())
    assert (got.status, got.text) == ("FAILED_PRECONDITION", text)
    assert ("reason", "told") in got.trailers
    assert ("odd-bin", b"\x00\xff\n") in got.trailers


def test_metadata_arrives_and_so_does_the_time_that_is_left(bare_node: NodeCaller) -> None:
    got = bare_node.call(PATH + "Describe", "", metadata=[("name", "a, b"), ("odd-bin", b"\x00\xff")], deadline_s=9.0)
    told = json.loads(base64.b64decode(got.messages[0]))
    assert ["name", "a, b"] in told["metadata"]
    assert ["odd-bin", [0, 255]] in told["metadata"]
    assert told["deadline_s"] is not None


def test_too_much_metadata_is_refused_and_the_connection_goes_on(bare_node: NodeCaller) -> None:
    refused = bare_node.call(PATH + "Echo", "", metadata=[("much", "x" * 2 * METADATA_BYTES)])
    assert refused.status == "RESOURCE_EXHAUSTED"
    assert bare_node.call(PATH + "Echo", "b25l").messages == ["b25l"]


@pytest.fixture(scope="module")
def trusted(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrustedServer]:
    with trusted_server(tmp_path_factory.mktemp(kind)) as served:
        yield served


def call_as(trusted: TrustedServer, name: str, authority: Authority | None, path: str) -> str:
    """Return the status of a call by who is called that and vouched for by that CA, or shows no certificate."""
    shown = authority.issue(name).write(trusted.files, "node") if authority else None
    message = infer(rows(1), model="m") if path == INFER else {}
    with NodeCaller(trusted.running.address, trusted.files / "ca.pem", shown) as node:
        return node.call(path, message, deadline_s=5.0).status


@pytest.mark.parametrize(("name", "administers"), [(ADMIN, "OK"), (CALLER, "PERMISSION_DENIED")])
def test_a_certificate_lets_its_bearer_do_what_it_proves(trusted: TrustedServer, name: str, administers: str) -> None:
    assert call_as(trusted, name, trusted.authority, INFER) == "OK"
    assert call_as(trusted, name, trusted.authority, LIST_MODELS) == administers


def test_who_shows_no_certificate_or_that_of_another_ca_does_not_get_in(trusted: TrustedServer) -> None:
    assert call_as(trusted, CALLER, None, INFER) == "UNAVAILABLE"
    assert call_as(trusted, CALLER, Authority("other CA"), INFER) == "UNAVAILABLE"


def test_a_server_of_another_ca_is_refused_by_the_client(trusted: TrustedServer) -> None:
    ca = trusted.files / "other.pem"
    ca.write_bytes(Authority("other CA").certificate)
    shown = trusted.authority.issue(CALLER).write(trusted.files, "node")
    with NodeCaller(trusted.running.address, ca, shown) as node:
        assert node.call(INFER, infer(rows(1), model="m"), deadline_s=5.0).status == "UNAVAILABLE"
