"""What the native transport does about those who mean harm, or have died: others are served, and memory is bounded."""

import gc
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from time import monotonic
from typing import Any, Final

import grpc
import pytest

from shoal_server.transport.choice import why_not_native
from shoal_testing.http2 import (
    DATA,
    END_HEADERS,
    GOAWAY,
    HEADERS,
    PING,
    RST_STREAM,
    RawHttp2,
    frame,
    grpc_message,
    headers,
)
from shoal_testing.listening import MESSAGE_BYTES, PATH, WAIT_S, Listening, listening, unary

pytestmark = pytest.mark.skipif(bool(why_not_native()), reason=str(why_not_native()))

CONTINUATION: Final = 9
MANY_BYTES: Final = 1 << 28


@pytest.fixture
def native() -> Iterator[Listening]:
    with listening("native") as running:
        yield running


def assert_serves(served: Listening, times: int = 1) -> None:
    # On a Unix socket grpcio would name as the authority what is none by the rules of HTTP, and be refused for it.
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.default_authority", "test")]
    with grpc.insecure_channel(served.address, options=options) as channel:
        for _ in range(times):
            assert unary(channel, "Echo")(b"on", timeout=WAIT_S) == b"on"


def assert_hung_up(connection: RawHttp2) -> None:
    """Wait for the end of a connection."""
    with suppress(EOFError, ConnectionError):
        while True:
            connection.read()


def inside(served: Listening) -> tuple[int, int, int]:
    """Return connections, calls and bytes in memory."""
    transport: Any = served.transport
    found: tuple[int, int, int] = transport.inside()
    return found


def test_a_client_that_resets_what_it_begins_is_hung_up_on_and_leaves_nothing(native: Listening) -> None:
    with RawHttp2(native.address) as foe:
        with suppress(ConnectionError):
            for _ in range(50):
                foe.send(b"".join(foe.whole_call(PATH + "Echo", b"x", leave=True) for _ in range(400)))
        assert_serves(native, 5)
    while inside(native)[1:] != (0, 0):
        assert_serves(native)


def streams_in_memory() -> list[object]:
    """Return all that somebody holds, other tests' too."""
    return [held for held in gc.get_objects() if type(held).__name__ == "NativeStream"]


def test_streams_that_are_left_in_the_middle_of_a_message_hold_no_bytes(native: Listening) -> None:
    """And that without the garbage collector: while all is refused, nothing is made that would have it run."""
    gc.collect()
    before = streams_in_memory()
    gc.disable()
    try:
        with RawHttp2(native.address) as foe:
            stream = foe.begin(PATH + "Chat")
            foe.write(stream, grpc_message(b"on"))
            foe.read_until(DATA, stream)  # it has begun: who leaves sooner is never heard of
            foe.write_politely(stream, grpc_message(bytes(MESSAGE_BYTES))[: MESSAGE_BYTES // 2])
            foe.cancel(stream)
            assert native.service.left.get(timeout=WAIT_S) == "chat"
        ends_s = monotonic() + WAIT_S
        while inside(native)[1:] != (0, 0) and monotonic() < ends_s:
            assert_serves(native)
        assert inside(native)[1:] == (0, 0)
        assert [held for held in streams_in_memory() if held not in before] == []
    finally:
        gc.enable()


def test_headers_without_an_end_are_hung_up_on(native: Listening) -> None:
    with RawHttp2(native.address) as foe:
        block = headers(PATH + "Echo", *[(f"h{number}", "x" * 100) for number in range(80)])
        with suppress(ConnectionError):
            foe.send(frame(HEADERS, 0, 1, block))
            for _ in range(2000):
                foe.send(frame(CONTINUATION, 0, 1, block[-8000:]))
        assert_hung_up(foe)
    assert_serves(native)


def test_more_metadata_than_is_read_at_all_is_refused(native: Listening) -> None:
    with RawHttp2(native.address) as foe:
        block = headers(PATH + "Echo", *[(f"h{number}", "x" * 1000) for number in range(90)])
        pieces = [block[start : start + 16_000] for start in range(0, len(block), 16_000)]
        foe.send(frame(HEADERS, 0, 1, pieces[0]))
        for number, piece in enumerate(pieces[1:], 2):
            foe.send(frame(CONTINUATION, END_HEADERS if number == len(pieces) else 0, 1, piece))
        foe.read_until(HEADERS, 1)
    assert_serves(native)


def test_who_never_says_hello_is_hung_up_on() -> None:
    with listening("native", handshake_s=0.1) as served:
        host, _colon, port = served.address.rpartition(":")
        for hello in (b"", b"PRI * HTTP"):
            with socket.create_connection((host, int(port)), WAIT_S) as silent:
                silent.sendall(hello)
                with suppress(ConnectionError):
                    while silent.recv(1000):
                        pass
        assert_serves(served)


def test_who_says_nothing_is_told_nothing(native: Listening) -> None:
    host, _, port = native.address.rpartition(":")
    with socket.create_connection((host, int(port)), WAIT_S) as silent:
        assert_serves(native)  # so it has been accepted long since, and nothing was made for it
        silent.settimeout(0)
        with pytest.raises(BlockingIOError):
            silent.recv(1)
        silent.settimeout(WAIT_S)
        silent.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b""))
        assert silent.recv(9)[3] == 4, "the server's settings"


def test_half_open_connections_make_room_for_those_who_come_later() -> None:
    with listening("native", max_connections=20) as served, ExitStack() as strangers:
        host, _colon, port = served.address.rpartition(":")
        with grpc.insecure_channel(served.address) as channel:
            assert unary(channel, "Echo")(b"first", timeout=WAIT_S) == b"first"
            for _ in range(200):
                strangers.enter_context(socket.create_connection((host, int(port)), WAIT_S))
            assert_serves(served)
            assert inside(served)[0] <= 20
            assert unary(channel, "Echo")(b"still", timeout=WAIT_S) == b"still", "who has called keeps its place"


def test_who_does_not_answer_a_ping_is_hung_up_on_and_who_does_is_not() -> None:
    with (
        listening("native", keepalive_s=0.1, keepalive_timeout_s=0.2) as served,
        RawHttp2(served.address) as dead,
        RawHttp2(served.address) as alive,
    ):
        for _ in range(4):
            alive.read_until(PING)
        assert_hung_up(dead)
        stream = alive.begin(PATH + "Echo")
        alive.write(stream, grpc_message(b"here"), end=True)
        assert b"here" in alive.read_until(DATA, stream)


def test_a_connection_of_age_is_asked_to_go_and_its_calls_may_end() -> None:
    with listening("native", max_connection_age_s=0.1, connection_grace_s=WAIT_S) as served:
        with RawHttp2(served.address) as old:
            stream = old.begin(PATH + "Hold")
            old.write(stream, grpc_message(b"slow"), end=True)
            held = served.service.held.get(timeout=WAIT_S)
            old.read_until(GOAWAY)
            held.reply(b"done")
            assert b"done" in old.read_until(DATA, stream)
            assert_hung_up(old)
        assert_serves(served)


def test_what_lasts_beyond_the_grace_of_an_old_connection_is_ended() -> None:
    with listening("native", max_connection_age_s=0.1, connection_grace_s=0.1) as served:
        with RawHttp2(served.address) as old:
            old.write(old.begin(PATH + "Hold"), grpc_message(b"for ever"), end=True)
            assert_hung_up(old)
        assert served.service.left.get(timeout=WAIT_S) == "for ever"


def test_messages_beyond_the_bytes_that_may_be_in_memory_are_refused() -> None:
    with (
        listening("native", max_bytes=3 * MESSAGE_BYTES) as served,
        grpc.insecure_channel(served.address) as channel,
    ):
        message = bytes(MESSAGE_BYTES)
        futures = [unary(channel, "Hold").future(message, timeout=WAIT_S) for _ in range(2)]
        held = [served.service.held.get(timeout=WAIT_S) for _ in futures]
        with pytest.raises(grpc.RpcError) as caught:
            unary(channel, "Echo")(message, timeout=WAIT_S)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "bytes of messages" in str(caught.value.details())
        for one in held:
            one.reply(b"done")
        assert [future.result() for future in futures] == [b"done"] * 2


def test_senders_of_a_byte_at_a_time_hold_no_more_than_they_sent(native: Listening) -> None:
    message = grpc_message(bytes(MESSAGE_BYTES))
    with ExitStack() as stack:
        slow = [stack.enter_context(RawHttp2(native.address)) for _ in range(20)]
        streams = [connection.begin(PATH + "Echo") for connection in slow]
        for position in range(50):
            for connection, stream in zip(slow, streams, strict=True):
                connection.write(stream, message[position : position + 1])
        assert_serves(native, 5)
        assert inside(native)[2] < MANY_BYTES
        for connection, stream in zip(slow, streams, strict=True):
            connection.send(frame(RST_STREAM, 0, stream, bytes(4)))
    while inside(native)[1:] != (0, 0):
        assert_serves(native)


def test_calls_that_are_no_grpc_are_refused_in_http(native: Listening) -> None:
    with RawHttp2(native.address) as stranger:
        fields = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "test")]
        block = b"".join(
            b"\x00" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
            for name, value in fields
        )
        stranger.send(frame(HEADERS, END_HEADERS | 1, 1, block))
        stranger.read_until(HEADERS, 1)
        assert stranger.field(1, ":status") == "405"


def test_a_unix_socket_is_listened_on_and_removed(tmp_path: Path) -> None:
    path = tmp_path / "shoal.sock"
    for _ in range(2):
        with listening("native", address=f"unix:{path}", io_threads=1) as served:
            assert served.address == f"unix:{path}"
            assert_serves(served)
        assert not path.exists()


@pytest.mark.parametrize("kind", ["native", "grpcio"])
def test_a_unix_socket_that_is_served_is_not_taken_away(kind: str, tmp_path: Path) -> None:
    address = f"unix:{tmp_path / 'shoal.sock'}"
    with listening(kind, address=address):
        with pytest.raises(OSError, match=r"cannot listen on unix:.*: (?i:address.* in use)"):
            listening(kind, address=address).__enter__()
        with socket.socket(socket.AF_UNIX) as caller:
            caller.connect(address.removeprefix("unix:"))
    with listening(kind, address=address) as served:
        assert served.address == address


@pytest.mark.parametrize("kind", ["native", "grpcio"])
def test_a_unix_socket_that_cannot_be_is_told_of(kind: str, tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"cannot listen on unix:.*: No such file or directory"):
        listening(kind, address=f"unix:{tmp_path / 'none' / 'shoal.sock'}").__enter__()


def test_several_listeners_share_a_port_if_all_of_them_say_so() -> None:
    with listening("native", reuse_port=True) as first:
        with listening("native", address=first.address, reuse_port=True) as second:
            assert second.address == first.address
            for _ in range(8):
                assert_serves(first)
        with pytest.raises(OSError, match="Address already in use"), listening("native", address=first.address):
            pass  # pragma: no cover


def test_several_threads_carry_the_bytes() -> None:
    with listening("native", io_threads=3) as served:
        for _ in range(6):
            assert_serves(served, 3)


def test_calls_are_counted_by_method_and_status(native: Listening) -> None:
    with grpc.insecure_channel(native.address) as channel:
        for size in (1, 10, 100):
            unary(channel, "Echo")(bytes(size), timeout=WAIT_S)
        for name in ("Nothing", "Else"):
            with pytest.raises(grpc.RpcError):
                unary(channel, name)(b"", timeout=WAIT_S)
    counted = {(one.method, one.status.name): one for one in native.transport.statistics()}
    echo = counted["test.Contract/Echo", "OK"]
    assert (echo.durations.size, echo.request_bytes, echo.response_bytes) == (3, 111, 111)
    assert 0 < echo.durations.total < WAIT_S
    assert counted["_OTHER", "UNIMPLEMENTED"].durations.size == 2


def test_a_listener_that_has_ended_leaves_no_file_open() -> None:
    def open_files() -> int:
        gc.collect()
        return len(list(Path("/proc/self/fd").iterdir()))

    with listening("native") as served:
        assert_serves(served)
    before = open_files()
    for _ in range(5):
        with listening("native", io_threads=2) as served:
            assert_serves(served)
    assert open_files() <= before
