"""Case 10: what does not exist here, and other protocols on the port."""

import socket
from contextlib import suppress

import numpy as np
import pytest

from shoal.inference import grpc_service_pb2 as pb
from shoal.methods import METHODS
from shoal_testing.caller import INFER, Caller, request_of
from shoal_testing.http2 import DATA, HEADERS, PING, PREFACE, RST_STREAM, RawHttp2, frame, grpc_message
from shoal_testing.refusals import assert_refused
from shoal_testing.server import RunningServer

INFERENCE = "/inference.GRPCInferenceService/"
VALID = request_of("pair", x=np.array([[1, 2]], np.float32)).SerializeToString()
WITHIN_S = 10.0

TLS_HELLO = bytes.fromhex("16030100310100002d0303") + bytes(32) + bytes.fromhex("000006130113021303010000")


@pytest.mark.parametrize("version", ["2", "1000", "previous", "latest", "v1"])
def test_an_unknown_version_or_label_is_not_found_and_the_known_ones_are_named(caller: Caller, version: str) -> None:
    request = request_of("pair", x=np.ones((1, 2), np.float32))
    request.model_version = version
    assert_refused(caller.infer(request), "NOT_FOUND", "'pair'", f"'{version}'", "it has [1]")
    ready = pb.ModelReadyRequest(name="pair", version=version).SerializeToString()
    assert not pb.ModelReadyResponse.FromString(caller.call(ready, INFERENCE + "ModelReady").message).ready


def test_the_label_of_the_version_that_answers_is_known_without_anybody_having_set_it(caller: Caller) -> None:
    request = request_of("pair", x=np.ones((1, 2), np.float32))
    request.model_version = "stable"
    assert caller.infer(request).answer.model_version == "1"
    ready = pb.ModelReadyRequest(name="pair", version="stable").SerializeToString()
    assert pb.ModelReadyResponse.FromString(caller.call(ready, INFERENCE + "ModelReady").message).ready


@pytest.mark.parametrize(
    "path",
    [
        INFERENCE + "Nothing",
        "/nobody.Service/ModelInfer",
        "/",
        "/" + "a" * 8000 + "/b",
        INFER + "/",
        INFER.lower(),
        *[path for path in METHODS if any(word in path for word in ("SharedMemory", "TraceSetting", "LogSettings"))],
    ],
)
def test_an_unknown_method_is_unimplemented(caller: Caller, path: str) -> None:
    assert caller.call(VALID, path).status == "UNIMPLEMENTED"


STRANGERS = {
    "HTTP/1.1": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "HTTP/1.1 with a body": b"POST " + INFER.encode() + b" HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello",
    "HTTP/1.1 that wants HTTP/2": (
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: \r\n\r\n"
    ),
    "TLS": TLS_HELLO,
    "SSH": b"SSH-2.0-OpenSSH_9.6\r\n",
    "zeros": bytes(10_000),
    "a preface and junk": PREFACE + b"\xff" * 1000,
    "a preface and a frame of 16 MiB": PREFACE + b"\xff\xff\xff\x00\x00\x00\x00\x00\x01" + bytes(100_000),
}


@pytest.mark.parametrize("words", STRANGERS.values(), ids=STRANGERS)
def test_another_protocol_is_hung_up_on(server: RunningServer, words: bytes) -> None:
    host, _colon, port = server.address.rpartition(":")
    with socket.create_connection((host, int(port)), WITHIN_S) as stranger:
        received = b""
        with suppress(ConnectionError):
            stranger.sendall(words)
            while piece := stranger.recv(65_536):
                received += piece
    assert b"Traceback" not in received


def test_a_client_that_breaks_the_rules_of_http2_hurts_itself_alone(server: RunningServer, caller: Caller) -> None:
    breaches = [
        frame(DATA, 0, 1, b"before any headers"),
        frame(HEADERS, 4, 2, b"\x82"),  # an even stream is the server's to open
        frame(HEADERS, 4, 1, b"\xff\xff\xff\xff\xff\xff"),  # not HPACK
        frame(8, 0, 0, (2**31 - 1).to_bytes(4, "big")) * 3,  # a window beyond 2 GiB
        frame(9, 0, 1, b"a continuation of nothing"),
        frame(4, 0, 0, b"\x00\x04\xff\xff\xff\xff"),  # settings: a window beyond 2 GiB
    ]
    for breach in breaches:
        with RawHttp2(server.address) as connection:
            connection.send(breach)
            # Overlooked, and the ping is answered; or the end of this connection, by FIN or RST.
            with suppress(EOFError, ConnectionError):
                connection.send(frame(PING, 0, 0, bytes(8)))
                connection.read_until(PING)
        assert caller.call(VALID).status == "OK"


def test_odd_framing_of_a_message_is_an_error_of_that_call_alone(server: RunningServer) -> None:
    compressed_without_encoding = b"\x01" + grpc_message(VALID)[1:]
    with RawHttp2(server.address) as connection:
        for body, status in [
            (compressed_without_encoding, 13),
            (b"\x00\xff\xff\xff\xff", 8),
            (b"\x00\x7f\xff\xff\xffabc", 8),
            (grpc_message(VALID), 0),
            (grpc_message(VALID) * 2, 0),
            (grpc_message(VALID) + b"\x00\x00", 0),
        ]:
            stream = connection.begin(INFER)
            connection.write(stream, body, end=True)
            if status == 0:
                connection.read_until(DATA, stream)
            else:
                assert connection.status(stream) == status


@pytest.mark.parametrize(
    "header",
    [
        ("grpc-timeout", "soon"),
        ("grpc-timeout", "-1S"),
        ("grpc-encoding", "br"),
        ("some-bin", "!!! not base64 !!!"),
    ],
)
def test_a_header_that_cannot_be_read_is_an_error_of_that_call_alone(
    server: RunningServer, header: tuple[str, str]
) -> None:
    with RawHttp2(server.address) as connection:
        stream = connection.begin(INFER, header)
        connection.write(stream, grpc_message(VALID), end=True)
        assert connection.status(stream) in range(17)
        stream = connection.begin(INFER, ("grpc-timeout", "99999999H"))
        connection.write(stream, grpc_message(VALID), end=True)
        assert connection.read_until(DATA, stream)


@pytest.mark.parametrize("body", [b"", b"\x00", grpc_message(VALID)[:-1]], ids=["nothing", "a byte", "all but a byte"])
def test_a_caller_who_ends_before_its_message_has_ended_leaves_nothing_behind(
    server: RunningServer, body: bytes
) -> None:
    """What it gets is gRPC's affair (nothing, in grpc.aio); what it holds is ours."""
    with RawHttp2(server.address) as connection:
        streams = [connection.begin(INFER, ("grpc-timeout", "10S")) for _ in range(100)]
        for stream in streams:
            connection.write(stream, body, end=True)
        last = connection.begin(INFER)
        connection.write(last, grpc_message(VALID), end=True)
        assert connection.read_until(DATA, last)
        for stream in streams:
            connection.send(frame(RST_STREAM, 0, stream, bytes(4)))
