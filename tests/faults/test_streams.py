"""A stream on which wrong requests come among right ones: each is answered for itself."""

import numpy as np

from shoal.inference import grpc_service_pb2 as pb
from shoal_testing.at_rest import wait_until_held
from shoal_testing.caller import Array, Caller, request_of
from shoal_testing.gated import gated
from shoal_testing.http2 import RawHttp2, grpc_message
from shoal_testing.refusals import assert_for_callers, assert_refused
from shoal_testing.server import RunningServer

STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"
MALFORMED = b"\xff\xff"


def row_of(number: float) -> Array:
    return np.array([[number, -number]], np.float32)


def message_of(number: int) -> bytes:
    request = request_of("pair", x=row_of(number))
    request.id = str(number)
    return request.SerializeToString()


WRONG = [
    (request_of("nobody", x=row_of(1)), "'nobody'"),
    (request_of("pair"), "'x' is missing"),
    (request_of("pair", x=row_of(1)[0]), "[-1, 2]"),
    (request_of("pair", "z", x=row_of(1)), "'z'"),
    (request_of("gather", ids=np.array([[99]], np.int64)), "lookup"),
]


def test_every_request_of_a_stream_is_answered_for_itself(caller: Caller) -> None:
    messages: list[bytes] = []
    for number in range(200):
        messages.append(message_of(number))
        wrong, _words = WRONG[number % len(WRONG)]
        wrong.id = f"wrong {number}"
        messages.append(wrong.SerializeToString())
        if number % 10 == 0:
            messages.append(MALFORMED)
    received, outcome = caller.exchange(messages, STREAM)
    assert outcome.status == "OK"
    answers = [pb.ModelStreamInferResponse.FromString(message) for message in received]
    assert len(answers) == len(messages)
    malformed = [answer for answer in answers if "malformed" in answer.error_message]
    assert len(malformed) == 20
    by_id = {answer.infer_response.id: answer for answer in answers}
    for number in range(200):
        raw = by_id[str(number)].infer_response.raw_output_contents[0]
        assert raw == row_of(number).tobytes()
        text = by_id[f"wrong {number}"].error_message
        assert_for_callers(text)
        assert WRONG[number % len(WRONG)][1] in text


def test_a_stream_that_asks_for_it_ends_with_the_first_failure(caller: Caller) -> None:
    messages = [message_of(1), WRONG[0][0].SerializeToString(), message_of(2)]
    received, outcome = caller.exchange(messages, STREAM, metadata=[("triton_grpc_error", "true")])
    assert_refused(outcome, "NOT_FOUND", "'nobody'")
    assert all(not pb.ModelStreamInferResponse.FromString(message).error_message for message in received)


def test_streams_that_are_reset_take_their_requests_with_them(server: RunningServer, caller: Caller) -> None:
    with gated(server, "pair") as gate:
        first = caller.begin(message_of(-1))
        gate.wait_for_run()
        for _ in range(20):
            with RawHttp2(server.address) as connection:
                stream = connection.begin(STREAM)
                connection.write(stream, b"".join([grpc_message(message_of(number)) for number in range(20)]))
                wait_until_held(server, waiting=20)
                connection.cancel(stream)
                wait_until_held(server, waiting=0)
        gate.open()
        assert first.outcome().status == "OK"
        assert len(gate.runs) == 1, "nobody was computed who had left"
