"""Case 19: callers who take their answers or give their requests a byte at a time, and networks that swallow them."""

from queue import SimpleQueue

import grpc
import numpy as np

from shoal_server.rpc.stream import MOST_IN_FLIGHT
from shoal_testing.at_rest import batcher_of, eventually, held, on_loop, wait_until_held
from shoal_testing.caller import INFER, WITHIN_S, Caller, request_of
from shoal_testing.chaos_proxy import Faults, chaos_proxy
from shoal_testing.gated import gated
from shoal_testing.http2 import DATA, RawHttp2, grpc_message
from shoal_testing.server import RunningServer

STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"
LARGE = np.arange(1 << 18, dtype=np.float32)  # 1 MiB, and as much in the answer
SMALL = request_of("pair", x=np.array([[1, 2]], np.float32))
READERS = 8


def test_callers_who_do_not_read_their_answers_hold_no_place_and_leave_without_a_trace(
    server: RunningServer, caller: Caller
) -> None:
    message = grpc_message(request_of("vector", x=LARGE).SerializeToString())
    connections = []
    for _ in range(READERS):
        connection = RawHttp2(server.address, window_bytes=1000)
        stream = connection.begin(INFER)
        connection.write_politely(stream, message, end=True)
        connection.read_until(DATA, stream)
        connections.append(connection)
    wait_until_held(server, requests=0)
    for _ in range(50):
        assert caller.infer(SMALL).status == "OK"
    for connection in connections:
        connection.reset()


def test_callers_who_leave_in_the_middle_of_a_large_answer_are_no_news_for_the_log(server: RunningServer) -> None:
    """The fixture sees to it that nothing was logged as an error."""
    for leave in (RawHttp2.reset, RawHttp2.close):
        with RawHttp2(server.address, window_bytes=1000) as connection:
            stream = connection.begin(INFER)
            connection.write_politely(stream, grpc_message(request_of("vector", x=LARGE).SerializeToString()), end=True)
            connection.read_until(DATA, stream)
            connection.cancel(stream)
            leave(connection)


def test_callers_who_send_slowly_hold_no_place_and_keep_nobody_waiting(server: RunningServer, caller: Caller) -> None:
    message = grpc_message(SMALL.SerializeToString())
    connections = [RawHttp2(server.address) for _ in range(READERS)]
    streams = [connection.begin(INFER) for connection in connections]
    for position in range(len(message) - 1):
        for connection, stream in zip(connections, streams, strict=True):
            connection.write(stream, message[position : position + 1])
        assert caller.infer(SMALL).status == "OK"
    assert held(server).requests == 0
    for connection, stream in zip(connections, streams, strict=True):
        connection.write(stream, message[-1:], end=True)
        assert b"pair" in connection.read_until(DATA, stream)
        connection.socket.close()


def test_a_stream_whose_reader_sleeps_is_computed_no_further_than_its_bound(
    server: RunningServer, caller: Caller
) -> None:
    message = grpc_message(SMALL.SerializeToString())
    batcher = batcher_of(server, "pair")
    before = on_loop(server, lambda: batcher.statistics.inference_count)
    with RawHttp2(server.address, window_bytes=1000) as connection:
        stream = connection.begin(STREAM)
        connection.write_politely(stream, message * (4 * MOST_IN_FLIGHT))

        def computed() -> int:
            return on_loop(server, lambda: batcher.statistics.inference_count) - before

        eventually(server, computed, lambda count: count >= MOST_IN_FLIGHT, "computed")
        for _ in range(50):
            assert caller.infer(SMALL).status == "OK"
        assert computed() - 50 <= MOST_IN_FLIGHT + 1000 // 40, "those that it reads, and those that may be in flight"
        connection.reset()


def test_a_slow_line_delays_its_own_caller_alone(server: RunningServer, caller: Caller) -> None:
    with (
        chaos_proxy(server.address, Faults(delay_s=0.02, bytes_per_s=200_000)) as proxy,
        Caller(proxy.address) as far_away,
    ):
        request = request_of("vector", x=np.arange(5000, dtype=np.float32))
        slow = far_away.begin(request.SerializeToString())
        while not slow.over:
            assert caller.infer(SMALL).status == "OK"
        np.testing.assert_array_equal(slow.outcome().array(), 2 * np.arange(5000))


def test_a_line_that_goes_dead_ends_at_the_callers_deadline_and_holds_nothing(
    server: RunningServer, caller: Caller
) -> None:
    with chaos_proxy(server.address) as proxy, Caller(proxy.address) as lost:
        assert lost.infer(SMALL).status == "OK"
        proxy.faults = Faults(black_hole=True, answers_only=True)
        assert lost.infer(SMALL, timeout_s=0.3).status == "DEADLINE_EXCEEDED"
        wait_until_held(server, requests=0)
        assert caller.infer(SMALL).status == "OK"
        proxy.reset_all()


def test_connections_reset_on_the_way_are_unavailable_and_the_next_succeeds(server: RunningServer) -> None:
    states: SimpleQueue[grpc.ChannelConnectivity] = SimpleQueue()
    with chaos_proxy(server.address) as proxy, Caller(proxy.address) as caller:
        caller.channel.subscribe(states.put)
        for resets in range(5):
            answered = caller.infer(SMALL)
            assert answered.status == "OK", f"after {resets} resets: {answered}"
            with gated(server, "pair") as gate:
                lost = caller.begin(SMALL.SerializeToString())
                gate.wait_for_run()
                while states.get(timeout=WITHIN_S) is not grpc.ChannelConnectivity.READY:
                    pass
                assert proxy.reset_all() == 1
                assert lost.outcome().status == "UNAVAILABLE"
            # The next call is to find a channel that knows of it: what gRPC does in between is not looked at here.
            assert states.get(timeout=WITHIN_S) is not grpc.ChannelConnectivity.READY


def test_answers_of_a_stream_that_nobody_waits_for_are_dropped(server: RunningServer) -> None:
    for count in (1, 10, 100):
        with RawHttp2(server.address) as connection:
            connection.write(connection.begin(STREAM), grpc_message(SMALL.SerializeToString()) * count)
            connection.reset()
