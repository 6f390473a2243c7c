"""A collector that answers without end, or never quite, costs neither memory nor the server's end."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

import pytest
import requests
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace.export import SpanExportResult

from shoal_server.telemetry import bounded_answers
from shoal_server.telemetry.bounded_answers import MOST_BYTES, bounded_session
from shoal_server.telemetry.http_span_exporter import HttpSpanExporter
from shoal_server.telemetry.made_spans import MadeSpans

HEAD: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\n"
ENDLESS: Final = HEAD + b"\r\n"
SENT_BYTES: Final = 64 << 20

Answer = Callable[[socket.socket, threading.Event], None]


def without_end(caller: socket.socket, _ended: threading.Event) -> None:
    caller.sendall(ENDLESS)
    for _ in range(SENT_BYTES >> 16):
        caller.sendall(bytes(1 << 16))


def never_quite(caller: socket.socket, ended: threading.Event) -> None:
    caller.sendall(HEAD + b"Content-Length: 100\r\n\r\n")
    while not ended.wait(0.02):
        caller.sendall(b"x")


def elsewhere(caller: socket.socket, _ended: threading.Event) -> None:
    caller.sendall(b"HTTP/1.1 301 Moved\r\nLocation: https://login.example/\r\nContent-Length: 0\r\n\r\n")


def shortly(caller: socket.socket, _ended: threading.Event) -> None:
    caller.sendall(HEAD + b"Content-Length: 2\r\n\r\nok")


@contextmanager
def collector(answer: Answer) -> Iterator[str]:
    """A server that answers one request, in its way; yields its URL."""
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                caller, _address = listener.accept()
                with caller:
                    caller.recv(1 << 16)
                    answer(caller, ended)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1/traces"
        finally:
            ended.set()
            thread.join()


def asked(url: str) -> requests.Response:
    with bounded_session() as session:
        return session.post(url, data=b"spans", timeout=5)


def test_of_an_answer_without_end_the_beginning_is_read() -> None:
    with collector(without_end) as url:
        response = asked(url)
        assert (response.status_code, len(response.content)) == (200, MOST_BYTES)


def test_an_answer_that_comes_byte_by_byte_is_waited_for_no_longer_than_the_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bounded_answers, "WITHIN_S", 0.1)
    with collector(never_quite) as url:
        response = asked(url)
        assert response.status_code == 200
        assert len(response.content) < 100


def test_an_answer_as_they_are_is_read_whole() -> None:
    with collector(shortly) as url:
        assert asked(url).content == b"ok"


def test_who_sends_callers_elsewhere_has_taken_nothing() -> None:
    with collector(elsewhere) as url:
        exporter = HttpSpanExporter(endpoint=url, session=bounded_session())
        assert exporter.export(MadeSpans(ExportTraceServiceRequest())) is SpanExportResult.FAILURE
        exporter.shutdown()  # type: ignore[no-untyped-call]
