"""What is pushed in one message, and when."""

import threading
from collections.abc import Iterator
from queue import SimpleQueue
from random import Random

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from shoal_server.telemetry.losses import Losses
from shoal_server.telemetry.made_spans import MadeSpans
from shoal_server.telemetry.request_trace import RequestTrace
from shoal_server.telemetry.span_push import SpanPush
from shoal_server.telemetry.spans import SpanMaker
from shoal_server.transport.port import Status

WHOLE = 256
WITHIN_S = 10.0


class Exporter:
    """Says how many spans it is given, and takes them when it may."""

    def __init__(self) -> None:
        self.given: SimpleQueue[int] = SimpleQueue()
        self.may = threading.Semaphore(0)

    def export(self, spans: MadeSpans) -> SpanExportResult:
        self.given.put(len(spans))
        self.may.acquire(timeout=WITHIN_S)
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        self.may.release(1000)


@pytest.fixture
def exporter() -> Exporter:
    return Exporter()


@pytest.fixture
def push(exporter: Exporter) -> Iterator[SpanPush]:
    maker = SpanMaker(Resource({}), InstrumentationScope("test"), Random(0))
    started = SpanPush(exporter, "nowhere", maker, Losses(), interval_s=3600.0, capacity=2048)
    started.start()
    yield started
    exporter.may.release(1000)
    started.stop(WITHIN_S)


def offer(push: SpanPush, count: int) -> None:
    for _ in range(count):
        RequestTrace("m", 1, 0, random=Random(0), done=push.offer).end(Status.OK, "")


def test_what_comes_while_a_message_is_sent_waits_for_company(push: SpanPush, exporter: Exporter) -> None:
    offer(push, WHOLE)
    assert exporter.given.get(timeout=WITHIN_S) == WHOLE
    offer(push, 10)
    exporter.may.release()
    offer(push, WHOLE - 10)
    assert exporter.given.get(timeout=WITHIN_S) == WHOLE


def test_more_than_a_message_has_room_for_is_several(push: SpanPush, exporter: Exporter) -> None:
    offer(push, WHOLE)
    assert exporter.given.get(timeout=WITHIN_S) == WHOLE
    offer(push, 2 * WHOLE + 7)
    exporter.may.release(2)
    assert [exporter.given.get(timeout=WITHIN_S) for _ in range(2)] == [WHOLE, WHOLE]
    exporter.may.release(2)
    push.stop(WITHIN_S)
    assert exporter.given.get(timeout=WITHIN_S) == 7, "in the end nothing waits any more"
