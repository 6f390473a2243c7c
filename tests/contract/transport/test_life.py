"""A listener's life: addresses, draining, the hard stop, and what was counted."""

import socket

import grpc
import pytest

from shoal_testing.listening import WAIT_S, Listening, listening, unary

EVERYWHERE = "0.0.0.0:0"


def echo(address: str) -> bytes:
    with grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        method = unary(channel, "Echo")
        return method(b"hello", timeout=WAIT_S)


@pytest.mark.parametrize("address", ["127.0.0.1:0", "[::1]:0", "localhost:0", EVERYWHERE])
def test_any_address_of_this_machine_can_be_listened_on(kind: str, address: str) -> None:
    with listening(kind, address=address) as served:
        host, _colon, port = served.address.rpartition(":")
        assert (host, int(port) > 0) == (address.rpartition(":")[0], True)
        assert echo(f"127.0.0.1:{port}" if address == EVERYWHERE else served.address) == b"hello"


def test_a_port_that_is_taken_is_an_error_that_says_so(kind: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        complaint = f"cannot listen on {address}: Address already in use"
        with pytest.raises(OSError, match=complaint), listening(kind, address=address):
            pass  # pragma: no cover


def test_a_listener_that_could_not_be_started_or_was_stopped_is_stopped_in_no_time(kind: str) -> None:
    with listening(kind) as served:
        with pytest.raises(OSError, match="already in use"), listening(kind, address=served.address):
            pass  # pragma: no cover
        for _ in range(2):
            served.stop(WAIT_S).result(WAIT_S / 2)


def test_draining_lets_calls_end_and_refuses_new_ones(served: Listening, channel: grpc.Channel) -> None:
    future = unary(channel, "Hold").future(b"slow", timeout=WAIT_S)
    held = served.service.held.get(timeout=WAIT_S)
    stopping = served.stop(WAIT_S)
    with grpc.insecure_channel(served.address, options=[("grpc.use_local_subchannel_pool", 1)]) as other:
        method = unary(other, "Echo")
        refused = False
        while not refused:
            try:
                method(b"", timeout=WAIT_S)
            except grpc.RpcError as error:
                assert error.code() is grpc.StatusCode.UNAVAILABLE  # noqa: PT017 - only the last of many is refused
                refused = True
    assert not stopping.done()
    held.reply(b"done")
    assert future.result() == b"done"
    stopping.result(WAIT_S)
    assert served.service.left.empty()


def test_what_is_under_way_after_the_grace_is_ended(served: Listening, channel: grpc.Channel) -> None:
    future = unary(channel, "Hold").future(b"for ever", timeout=WAIT_S)
    held = served.service.held.get(timeout=WAIT_S)
    served.stop(0.05).result(WAIT_S)
    assert future.exception() is not None
    assert served.service.left.get(timeout=WAIT_S) == "for ever"
    held.reply(b"too late")


def test_an_idle_listener_with_idle_connections_stops_at_once(served: Listening, channel: grpc.Channel) -> None:
    grpc.channel_ready_future(channel).result(WAIT_S)
    served.stop(WAIT_S).result(WAIT_S / 2)
