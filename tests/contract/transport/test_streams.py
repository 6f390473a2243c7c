"""Streams: messages in order both ways, their end, their failure, and callers who leave or sleep."""

import queue
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from shoal_testing.http2 import DATA, RawHttp2, grpc_message
from shoal_testing.listening import MESSAGE_BYTES, PATH, WAIT_S, Listening, unary


def stream(channel: grpc.Channel, name: str, messages: Iterator[bytes]) -> Any:  # noqa: ANN401 - the stubs have no name for it
    method: grpc.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(PATH + name)
    return method(messages, timeout=WAIT_S)


def test_messages_go_both_ways_in_order_and_the_end_is_ok(channel: grpc.Channel) -> None:
    sent = [b"%d" % number * (number % 7) for number in range(2000)]
    answers = stream(channel, "Chat", iter(sent))
    assert list(answers) == sent
    assert answers.code() is grpc.StatusCode.OK


def test_large_messages_go_both_ways(channel: grpc.Channel) -> None:
    sent = [bytes([number]) * MESSAGE_BYTES for number in range(8)]
    assert list(stream(channel, "Chat", iter(sent))) == sent


def test_each_side_may_wait_for_the_other(channel: grpc.Channel) -> None:
    asked: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    answers = stream(channel, "Chat", iter(asked.get, None))
    for number in range(50):
        asked.put(b"%d" % number)
        assert next(answers) == b"%d" % number
    asked.put(None)
    assert list(answers) == []


def test_one_message_may_have_many_answers_or_none(channel: grpc.Channel) -> None:
    count: grpc.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(PATH + "Count")
    assert list(count(b"300", timeout=WAIT_S)) == [b"%d" % number for number in range(300)]
    assert list(count(b"0", timeout=WAIT_S)) == []


def test_what_was_sent_before_a_failure_arrives_before_its_status(channel: grpc.Channel) -> None:
    answers = stream(channel, "StreamFail", iter(()))
    assert next(answers) == b"before"
    with pytest.raises(grpc.RpcError):
        next(answers)
    assert (answers.code(), answers.details()) == (grpc.StatusCode.FAILED_PRECONDITION, "enough")
    assert ("reason", "told") in answers.trailing_metadata()


def test_a_bug_in_a_stream_is_internal(channel: grpc.Channel, caplog: pytest.LogCaptureFixture) -> None:
    answers = stream(channel, "StreamRaise", iter(()))
    with pytest.raises(grpc.RpcError):
        list(answers)
    assert (answers.code(), answers.details()) == (grpc.StatusCode.INTERNAL, "internal error")
    assert "as the test wishes" in caplog.text


def test_the_route_is_cancelled_when_the_caller_leaves(served: Listening, channel: grpc.Channel) -> None:
    asked: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    answers = stream(channel, "Chat", iter(asked.get, None))
    asked.put(b"one")
    assert next(answers) == b"one"
    answers.cancel()
    assert served.service.left.get(timeout=WAIT_S) == "chat"
    asked.put(None)


def test_a_reader_who_sleeps_holds_the_writer_back(served: Listening) -> None:
    with RawHttp2(served.address, window_bytes=10_000) as sleeper:
        sleeper.write(sleeper.begin(PATH + "Burst"), grpc_message(b"100000"))
        sleeper.read_until(DATA)
        begun = 0
        while begun < 5:
            begun = int(served.service.left.get(timeout=WAIT_S))
        with grpc.insecure_channel(served.address) as awake:
            for _ in range(20):
                assert unary(awake, "Echo")(b"on", timeout=WAIT_S) == b"on"
        while not served.service.left.empty():
            begun = int(served.service.left.get())
        # The stream's window, and what a transport may have on its way beyond it.
        assert begun < 100
        sleeper.reset()
    assert served.service.left.get(timeout=WAIT_S) is not None
