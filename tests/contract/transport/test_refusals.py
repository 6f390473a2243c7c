"""What is refused may be refused by the transport alone, for a moment: no caller can tell, and each call is counted."""

from collections.abc import Callable, Iterator
from time import monotonic

import grpc

from shoal.inference import grpc_service_pb2 as pb
from shoal_testing.listening import WAIT_S, Listening, unary

AT_ONCE = 40


def request(model: str = "m", version: str = "", rows: int = 1) -> bytes:
    message = pb.ModelInferRequest(model_name=model, model_version=version, raw_input_contents=[bytes(4 * rows)])
    message.inputs.add(name="x", datatype="FP32", shape=[rows])
    return message.SerializeToString()


def bursts(channel: grpc.Channel, message: bytes, *metadata: tuple[str, str]) -> Iterator[int]:
    """Send many at once, again and again; yield how many were sent so far. All are refused in the same words."""
    method = unary(channel, "Refuse")
    sent, until_s = 0, monotonic() + WAIT_S
    while monotonic() < until_s:
        calls = [method.future(message, timeout=WAIT_S, metadata=metadata) for _ in range(AT_ONCE)]
        for call in calls:
            assert (call.code(), call.details()) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "full")
            (wait_ms,) = [value for name, value in call.trailing_metadata() if name == "grpc-retry-pushback-ms"]
            assert 10 <= int(wait_ms) <= 30
        sent += AT_ONCE
        yield sent
    raise AssertionError("what was waited for did not happen")


def happens(turns: Iterator[int], what: Callable[[int], bool]) -> None:
    next(sent for sent in turns if what(sent))


def test_every_call_is_heard_or_counted(kind: str, served: Listening, channel: grpc.Channel) -> None:
    service = served.service

    def all_there(sent: int) -> bool:
        return len(service.refused) + sum(service.counted) == sent and (kind == "grpcio" or bool(service.counted))

    # Counts come a moment after their calls, so this may take some turns.
    happens(bursts(channel, request()), all_there)
    assert all(held == (kind == "native") for held in service.refused)
    refused = {one.status: sum(one.durations.counts) for one in served.transport.statistics()}
    assert sum(refused.values()) == len(service.refused) + sum(service.counted)


def test_what_is_no_plain_request_is_always_heard(served: Listening, channel: grpc.Channel) -> None:
    with_parameter = pb.ModelInferRequest.FromString(request())
    with_parameter.parameters["priority"].int64_param = 1
    turns = bursts(channel, with_parameter.SerializeToString())
    assert [next(turns) for _ in range(3)][-1] == len(served.service.refused)
    assert not any(served.service.refused)


def test_who_was_refused_last_is_counted_where_the_listener_stops(served: Listening, channel: grpc.Channel) -> None:
    service = served.service
    turns = bursts(channel, request())
    sent = [next(turns) for _ in range(10)][-1]
    served.stop(WAIT_S).result(WAIT_S)
    assert len(service.refused) + sum(service.counted) == sent
