"""ModelStreamInfer in our own messages: what a failure says, and what a stream may hold."""

import gc
import logging
import queue
from collections.abc import Iterator
from itertools import islice

import grpc
import numpy as np
import pytest
from tritonclient.grpc import InferenceServerClient

from shoal.inference import grpc_service_pb2 as pb
from shoal_server.batching.ticket import Ticket
from shoal_server.rpc.stream import MOST_HELD_BYTES, MOST_IN_FLIGHT
from shoal_testing import models
from shoal_testing.server import RunningServer, running_server
from shoal_testing.triton import eventually, inside, rows, save_held
from shoal_testing.wire import INFERENCE, Answers, Wire

STREAM = INFERENCE + "ModelStreamInfer"
WIDE_BYTES = 64 << 10

pytestmark = pytest.mark.usefixtures("nothing_stays_inside")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("models")
    models.save(folder, "echo", models.identity("FP32", ["N", None]))
    models.save(folder, "gather", models.gather())
    save_held(folder, "held", rows=MOST_IN_FLIGHT + 100)
    with running_server(folder) as running:
        yield running


def succeeded(client: InferenceServerClient, model: str) -> int:
    statistics = client.get_inference_statistics(model).model_stats[0]
    return int(statistics.inference_stats.success.count)


def request(request_id: str, *, model: str = "echo", size_bytes: int = 8) -> pb.ModelInferRequest:
    tensor = pb.ModelInferRequest.InferInputTensor(name="x", datatype="FP32", shape=[1, size_bytes // 4])
    return pb.ModelInferRequest(
        model_name=model, id=request_id, inputs=[tensor], raw_input_contents=[bytes(size_bytes)]
    )


def lookup(request_id: str, index: int) -> pb.ModelInferRequest:
    tensor = pb.ModelInferRequest.InferInputTensor(name="ids", datatype="INT64", shape=[1, 1])
    contents = np.array([index]).tobytes()
    return pb.ModelInferRequest(model_name="gather", id=request_id, inputs=[tensor], raw_input_contents=[contents])


Sent = pb.ModelInferRequest | bytes


class Talk:
    """A stream to which requests are added as the test goes on; ``end`` closes the caller's half of it."""

    def __init__(self, wire: Wire, *, strict: bool = False) -> None:
        self._requests: queue.SimpleQueue[Sent | None] = queue.SimpleQueue()
        metadata = [("triton_grpc_error", "true")] if strict else []
        self.answers: Answers[pb.ModelStreamInferResponse] = wire.stream(
            STREAM, self._until_end(), pb.ModelStreamInferResponse, metadata
        )

    def send(self, *requests: Sent) -> None:
        for each in requests:
            self._requests.put(each)

    def end(self) -> None:
        self._requests.put(None)

    def _until_end(self) -> Iterator[Sent]:
        while (request := self._requests.get()) is not None:
            yield request

    def next(self) -> pb.ModelStreamInferResponse:
        return next(self.answers)


def test_a_failure_holds_the_id_of_its_request(wire: Wire) -> None:
    talk = Talk(wire)
    for request_id, wrong, complaint, status in (
        ("not admitted", request("not admitted", model="nobody"), "unknown model 'nobody'", grpc.StatusCode.NOT_FOUND),
        ("failed", lookup("failed", 99), "Gather node 'lookup'", grpc.StatusCode.INVALID_ARGUMENT),
        ("", request("", model="nobody"), "unknown model 'nobody'", grpc.StatusCode.NOT_FOUND),
    ):
        talk.send(wrong)
        answer = talk.next()
        assert complaint in answer.error_message
        assert answer.infer_response.id == request_id
        assert answer.infer_response.parameters["triton_final_response"].bool_param is True
        assert answer.infer_response.parameters["grpc-status"].int64_param == status.value[0]
        assert not answer.infer_response.outputs
    talk.end()
    assert talk.answers.code() is grpc.StatusCode.OK


def test_a_message_that_is_no_request_fails_alone(wire: Wire) -> None:
    talk = Talk(wire)
    talk.send(b"\xff\xff", request("good"))
    answers = [talk.next(), talk.next()]
    assert sorted(answer.error_message for answer in answers) == [
        "",
        "malformed request: the message is not a ModelInferRequest",
    ]
    talk.end()
    assert talk.answers.code() is grpc.StatusCode.OK


def test_a_strict_stream_ends_with_the_status_of_what_is_no_request(wire: Wire) -> None:
    talk = Talk(wire, strict=True)
    talk.send(b"\xff\xff")
    assert talk.answers.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert talk.answers.details() == "malformed request: the message is not a ModelInferRequest"


def test_what_was_answered_before_a_strict_stream_ends_still_arrives(wire: Wire) -> None:
    talk = Talk(wire, strict=True)
    for number in range(20):
        talk.send(request(str(number)))
        assert talk.next().infer_response.id == str(number)
    talk.send(request("bad", model="nobody"))
    assert list(talk_until_end(talk)) == []
    assert talk.answers.code() is grpc.StatusCode.NOT_FOUND


def talk_until_end(talk: Talk) -> Iterator[pb.ModelStreamInferResponse]:
    try:
        yield from talk.answers
    except grpc.RpcError:
        return


def test_a_stream_has_so_many_requests_inside_at_most(
    wire: Wire, served: RunningServer, client: InferenceServerClient
) -> None:
    talk = Talk(wire)
    talk.send(*[request(str(number), model="held") for number in range(MOST_IN_FLIGHT + 50)])
    assert eventually(lambda: inside(served, client), MOST_IN_FLIGHT) == MOST_IN_FLIGHT
    assert {inside(served, client) for _ in range(50)} == {MOST_IN_FLIGHT}
    # Those that fill the batch come by another way, and then the stream goes on with what it had not read.
    client.infer("held", [rows(*range(100))])
    ids = [answer.infer_response.id for answer in islice(talk.answers, MOST_IN_FLIGHT)]
    assert sorted(ids, key=int) == [str(number) for number in range(MOST_IN_FLIGHT)]
    assert eventually(lambda: inside(served, client), 50) == 50
    talk.answers.cancel()


def test_a_caller_who_does_not_read_is_not_answered_without_bound(
    served: RunningServer, client: InferenceServerClient
) -> None:
    before, count = succeeded(client, "echo"), MOST_IN_FLIGHT + 200
    # What the connection itself takes up is written and so counts as read: windows of 64 kB, if they may not grow.
    connection = 4
    with Wire(served.address, ("grpc.http2.bdp_probe", 0)) as wire:
        talk = Talk(wire)
        talk.send(*[request("wide", size_bytes=WIDE_BYTES)] * count)
        talk.end()
        assert eventually(lambda: succeeded(client, "echo") - before >= MOST_IN_FLIGHT, wanted=True)
        assert max(succeeded(client, "echo") - before for _ in range(100)) <= MOST_IN_FLIGHT + connection
        sizes_bytes = [len(answer.infer_response.raw_output_contents[0]) for answer in talk.answers]
    assert sizes_bytes == [WIDE_BYTES] * count
    assert eventually(lambda: succeeded(client, "echo") - before, count) == count


def test_answers_that_wait_for_a_slow_first_one_have_a_bound_in_bytes(
    wire: Wire, client: InferenceServerClient
) -> None:
    before, fit = succeeded(client, "echo"), MOST_HELD_BYTES // WIDE_BYTES
    talk = Talk(wire)
    talk.send(request("first", model="held"), *[request("wide", size_bytes=WIDE_BYTES)] * MOST_IN_FLIGHT)
    talk.end()
    assert eventually(lambda: succeeded(client, "echo") - before >= fit, wanted=True)
    # Those that were taken before so many had their answers get theirs, too.
    assert max(succeeded(client, "echo") - before for _ in range(100)) < 4 * fit
    client.infer("held", [rows(*range(MOST_IN_FLIGHT + 99))])
    ids = [answer.infer_response.id for answer in talk.answers]
    assert ids == ["first", *["wide"] * MOST_IN_FLIGHT]


def test_an_open_stream_keeps_nothing_of_the_requests_that_it_answered(wire: Wire) -> None:
    before = tickets_kept()  # by others' tests in this process, whose failures or callers keep them
    talk = Talk(wire)
    for number in range(50):
        talk.send(request(str(number), size_bytes=WIDE_BYTES))
        assert talk.next().infer_response.id == str(number)
    # The thread that ran the last batch may still hold that one.
    assert eventually(lambda: tickets_kept() <= before + 2, wanted=True)
    talk.end()
    assert talk.answers.code() is grpc.StatusCode.OK


def tickets_kept() -> int:
    gc.collect()
    return sum(isinstance(found, Ticket) for found in gc.get_objects())


def test_a_caller_who_leaves_in_the_midst_of_answers_is_no_fault_of_ours(
    served: RunningServer, client: InferenceServerClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        for _ in range(10):
            with Wire(served.address) as wire:
                talk = Talk(wire)
                talk.send(*[request("wide", size_bytes=WIDE_BYTES)] * 40)
                talk.next()
                talk.answers.cancel()
                assert talk.answers.code() is grpc.StatusCode.CANCELLED
                talk.end()
        assert eventually(lambda: inside(served, client), 0) == 0
    assert caplog.records == []
