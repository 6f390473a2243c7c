"""Unary calls: messages, statuses, metadata, deadlines, and callers who leave."""

import json
import threading
import time
from typing import Any

import grpc
import pytest

from shoal_server.transport.port import Status
from shoal_testing.listening import MESSAGE_BYTES, METADATA_BYTES, PATH, WAIT_S, Listening, listening, unary

Metadata = tuple[tuple[str, str | bytes], ...]
PLAIN = grpc.Compression.NoCompression


def call(  # noqa: PLR0913, PLR0917 - what a call may have
    channel: grpc.Channel,
    name: str,
    message: bytes = b"",
    timeout_s: float | None = WAIT_S,
    metadata: Metadata = (),
    compression: grpc.Compression = PLAIN,
) -> bytes:
    return unary(channel, name)(message, timeout=timeout_s, metadata=metadata, compression=compression)


def failure(  # noqa: PLR0913, PLR0917 - what a call may have
    channel: grpc.Channel,
    name: str,
    message: bytes = b"",
    timeout_s: float = WAIT_S,
    metadata: Metadata = (),
    compression: grpc.Compression = PLAIN,
) -> grpc.RpcError:
    """Return how a call failed."""
    with pytest.raises(grpc.RpcError) as caught:
        call(channel, name, message, timeout_s, metadata, compression)
    return caught.value


@pytest.mark.parametrize("size", [0, 1, 5, 16_383, 16_384, 16_385, 65_536, 300_000, MESSAGE_BYTES])
def test_a_message_of_any_size_comes_and_goes_as_it_is(channel: grpc.Channel, size: int, seed: int) -> None:
    message = (seed.to_bytes(4, "big") * (size // 4 + 1))[:size]
    assert call(channel, "Echo", message) == message
    assert call(channel, "Cold", message) == message[::-1]


def test_calls_that_come_together_are_handed_over_in_lists(served: Listening, channel: grpc.Channel) -> None:
    method = unary(channel, "Echo")
    futures = [method.future(b"%d" % number, timeout=WAIT_S) for number in range(500)]
    assert [future.result() for future in futures] == [b"%d" % number for number in range(500)]
    assert sum(served.service.lists) == 500


@pytest.mark.parametrize("status", list(Status)[1:])
def test_every_status_arrives_with_its_text(channel: grpc.Channel, status: Status) -> None:
    error = failure(channel, "Fail", json.dumps([status, "the text", []]).encode())
    assert (error.code().value[0], error.details()) == (status, "the text")


@pytest.mark.parametrize(
    "text", ["", "100 % of it", "line\nline\r\t\x00", "für — 鱼 🐟", "%41 is not A", " blanks ", "x" * 600, '~\x7f\\"']
)
def test_a_text_arrives_whatever_is_in_it(channel: grpc.Channel, text: str) -> None:
    assert failure(channel, "Fail", json.dumps([9, text, []]).encode()).details() == text


def test_trailers_of_both_kinds_arrive(channel: grpc.Channel) -> None:
    trailers: list[list[object]] = [
        ["plain", "word"],
        ["all-bin", [*range(256)]],
        ["plain", "again"],
        ["no-bin", []],
    ]
    error = failure(channel, "Fail", json.dumps([8, "shed", trailers]).encode())
    pairs: Any = error.trailing_metadata()
    arrived = [(name, value) for name, value in pairs if name in ("plain", "all-bin", "no-bin")]
    assert sorted(arrived, key=str) == sorted(
        [("plain", "word"), ("plain", "again"), ("all-bin", bytes(range(256))), ("no-bin", b"")], key=str
    )


def test_a_call_knows_its_method_peer_and_metadata(channel: grpc.Channel) -> None:
    metadata = (("word", "value"), ("raw-bin", bytes(range(256))), ("word", "other"), ("empty", ""))
    told = json.loads(call(channel, "Describe", metadata=metadata))
    assert told["method"] == PATH + "Describe"
    assert told["address"].startswith("ipv4:127.0.0.1:")
    assert told["identity"] == ""
    seen = [tuple(pair) for pair in told["metadata"] if pair[0] in ("word", "empty")]
    assert sorted(seen) == [("empty", ""), ("word", "other"), ("word", "value")]
    assert ["raw-bin", list(range(256))] in told["metadata"]
    assert not {"te", "content-type", "grpc-timeout"} & {name for name, _ in told["metadata"]}


def test_a_header_is_found_in_a_list_of_calls(channel: grpc.Channel) -> None:
    method = unary(channel, "Carrying")
    headers: list[Metadata] = [(), (("word", "a"),), (("other", "b"),), (("word", "c"), ("word", "d")), (("word", ""),)]
    futures = [method.future(b"", timeout=WAIT_S, metadata=headers[number % 5]) for number in range(100)]
    found = [json.loads(future.result()) for future in futures]
    assert found == [None, "a", None, "c", ""] * 20


def test_a_deadline_is_absolute_monotonic_time_and_none_is_none(channel: grpc.Channel) -> None:
    before_s = time.monotonic()
    told = json.loads(call(channel, "Describe", timeout_s=5))
    assert before_s + 4 < told["deadline_s"] < time.monotonic() + 5.1, "clients round timeouts up"
    assert json.loads(call(channel, "Describe", timeout_s=None))["deadline_s"] is None


def test_a_caller_who_cancels_is_reported_once(served: Listening, channel: grpc.Channel) -> None:
    future = unary(channel, "Hold").future(b"me", timeout=WAIT_S)
    held = served.service.held.get(timeout=WAIT_S)
    future.cancel()
    assert served.service.left.get(timeout=WAIT_S) == "me"
    held.reply(b"too late")
    held.fail(Status.INTERNAL, "and twice")
    assert call(channel, "Echo", b"on") == b"on"
    assert served.service.left.empty()


def test_a_deadline_that_passes_is_a_leave(served: Listening, channel: grpc.Channel) -> None:
    error = failure(channel, "Hold", b"late", timeout_s=0.2)
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert served.service.left.get(timeout=WAIT_S) == "late"


def test_a_connection_that_breaks_is_a_leave_of_all_its_calls(served: Listening) -> None:
    with grpc.insecure_channel(served.address, options=[("grpc.use_local_subchannel_pool", 1)]) as lost:
        futures = [unary(lost, "Hold").future(b"%d" % number) for number in range(20)]
        for _ in futures:
            served.service.held.get(timeout=WAIT_S)
    assert sorted(int(served.service.left.get(timeout=WAIT_S)) for _ in futures) == list(range(20))


def test_a_cold_method_is_cancelled_when_its_caller_leaves(served: Listening, channel: grpc.Channel) -> None:
    future = unary(channel, "ColdHold").future(b"cold", timeout=WAIT_S)
    served.service.held.get(timeout=WAIT_S)
    future.cancel()
    assert served.service.left.get(timeout=WAIT_S) == "cold"


def test_answers_may_come_from_any_thread_and_in_any_order(served: Listening, channel: grpc.Channel) -> None:
    method = unary(channel, "Hold")
    futures = [method.future(b"%d" % number, timeout=WAIT_S) for number in range(100)]
    held = [served.service.held.get(timeout=WAIT_S) for _ in futures]

    def answer(part: int) -> None:
        for one in reversed(held[part::4]):
            one.reply(one.message + b"!")

    threads = [threading.Thread(target=answer, args=(part,)) for part in range(4)]
    for thread in threads:
        thread.start()
    assert [future.result() for future in futures] == [b"%d!" % number for number in range(100)]
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("name", ["Raise", "ColdRaise"])
def test_a_bug_behind_the_wire_is_internal_and_keeps_its_words_to_itself(
    channel: grpc.Channel, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    error = failure(channel, name)
    assert (error.code(), error.details()) == (grpc.StatusCode.INTERNAL, "internal error")
    assert "as the test wishes" in caplog.text
    assert call(channel, "Echo", b"on") == b"on"


def test_a_method_that_is_not_routed_is_unimplemented(channel: grpc.Channel) -> None:
    assert failure(channel, "Nothing").code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
@pytest.mark.parametrize("size", [10, 100_000, MESSAGE_BYTES])
def test_compressed_messages_are_taken(channel: grpc.Channel, compression: grpc.Compression, size: int) -> None:
    message = (bytes(range(250)) * (size // 250 + 1))[:size]
    assert call(channel, "Echo", message, compression=compression) == message


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_a_message_above_the_limit_is_refused(channel: grpc.Channel, compression: grpc.Compression) -> None:
    error = failure(channel, "Echo", bytes(MESSAGE_BYTES + 1), compression=compression)
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "larger than max" in str(error.details())
    assert call(channel, "Echo", b"on") == b"on"


def test_metadata_above_the_limit_are_refused(channel: grpc.Channel) -> None:
    error = failure(channel, "Echo", metadata=(("pad", "x" * (METADATA_BYTES + 1)),))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert call(channel, "Echo", b"on") == b"on"


def test_whom_a_small_limit_keeps_out_is_told_so(kind: str) -> None:
    with listening(kind, max_calls=3) as served, grpc.insecure_channel(served.address) as channel:
        method = unary(channel, "Echo")
        codes = {future.code() for future in [method.future(b"", timeout=WAIT_S) for _ in range(500)]}
        assert codes <= {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}


def test_calls_above_the_limit_are_refused_and_there_is_room_again(kind: str) -> None:
    with listening(kind, max_calls=3) as served, grpc.insecure_channel(served.address) as channel:
        method = unary(channel, "Hold")
        futures = [method.future(b"", timeout=WAIT_S) for _ in range(3)]
        held = [served.service.held.get(timeout=WAIT_S) for _ in futures]
        assert failure(channel, "Echo").code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        for one in held:
            one.reply(b"done")
        assert [future.result() for future in futures] == [b"done"] * 3
        assert call(channel, "Echo", b"on") == b"on"
