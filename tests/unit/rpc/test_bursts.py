"""Bursts of calls: a bug that one of them meets is nobody else's, and their traces tell what those of others do."""

from collections.abc import Sequence
from random import Random
from typing import Any

import pytest

from shoal_server.batching.ticket import Origin, Outputs
from shoal_server.rpc.burst import CallBurst
from shoal_server.rpc.encode import ResponseEncoder, id_field
from shoal_server.rpc.inference import InferenceHandler
from shoal_server.service import Asked
from shoal_server.telemetry.request_trace import Record, RequestTrace
from shoal_server.telemetry.traced import TracedCall
from shoal_server.tensors.batch import OutputBlock
from shoal_server.tensors.datatype import DataType
from shoal_server.tensors.spec import TensorSpec
from shoal_server.transport.port import Status


class Called:
    """A call that remembers how it ended."""

    method = "/t/Infer"
    trace = None

    def __init__(self) -> None:
        self.ended: list[Status] = []

    def fail(self, status: Status, _text: str, _trailers: object = ()) -> None:
        self.ended.append(status)


class Together:
    """A burst for one model."""

    sizes = (4,)
    size_bytes = 100
    earliest_s = 1e9
    traced = ()

    def __init__(self, model: str, calls: Sequence[Called]) -> None:
        self.form = (model, "", (("x", "FP32", (1, 1)),), ())
        self.calls = calls

    def __len__(self) -> int:
        return len(self.calls)

    def elements(self, *_: int) -> bytes:
        return bytes(4)

    def requests(self, start: int) -> list[tuple[Called, bytes, list[bytes], int]]:
        return [(call, b"", [bytes(4)], 50) for call in self.calls[start:]]


class Broken:
    """A service that meets a bug where it is asked for the model ``broken``."""

    def __init__(self) -> None:
        self.flushed = 0
        self.asked: list[str] = []

    def infer_now(self, asked: Asked, burst: Any) -> int:  # noqa: ANN401 - a double's
        self.asked.append(asked.model)
        if asked.model == "broken":
            raise ZeroDivisionError("a bug")
        return len(burst)

    def flush(self) -> None:
        self.flushed += 1


class Bursts:
    """A reader that finds these bursts."""

    def __init__(self, *bursts: Together) -> None:
        self._bursts = bursts

    def gather(self, _calls: object) -> tuple[Sequence[Together], Sequence[Called]]:
        return self._bursts, ()


def test_a_bug_in_answering_a_burst_fails_its_calls_and_no_others(caplog: pytest.LogCaptureFixture) -> None:
    unlucky, lucky = [Called(), Called()], [Called()]
    service: Any = Broken()
    reader: Any = Bursts(Together("broken", unlucky), Together("whole", lucky))
    InferenceHandler(service, ResponseEncoder(), None, reader).handle([])
    assert [call.ended for call in unlucky] == [[Status.INTERNAL]] * 2
    assert not lucky[0].ended, "it was answered"
    assert (service.asked, service.flushed) == (["broken", "whole"], 1)
    assert "ZeroDivisionError" in caplog.text


def record(done: list[Record]) -> RequestTrace:
    trace = RequestTrace("t/Infer", 1, 0, random=Random(0), done=done.append)
    trace.dispatched = True
    return trace


class Answering:
    """A burst of requests of one row, all of which are answered, though the caller of ``left`` has left before."""

    form = ("m" * 200, "", (("x", "FP32", (1, 1)),), ())
    sizes = (4,)
    size_bytes = 100
    earliest_s = 1e9

    def __init__(self, traced: dict[int, RequestTrace], left: int) -> None:
        call: Any = Called()
        clock: Any = None
        self.traced = [
            (place, TracedCall(call, trace, clock), id_field(f"id {place}")) for place, trace in traced.items()
        ]
        self._left = left

    def elements(self, *_: int) -> bytes:
        return bytes(4)

    def answer(self, start: int, stop: int, _head: bytes, _parts: object) -> int:
        return stop - start - (start <= self._left < stop)

    def has_left(self, place: int) -> bool:
        return place == self._left


def test_traces_of_requests_that_are_answered_together_tell_what_those_of_single_ones_do() -> None:
    done: list[Record] = []
    traces = {place: record(done) for place in (1, 2, 5)}
    calls: Any = Answering(traces, left=2)
    burst = CallBurst(calls, ResponseEncoder(), ())
    assert list(burst.traced(0, 4)) == [traces[1], traces[2]]
    block = OutputBlock(TensorSpec("y", DataType.FP32, ("", 1)), (4, 1), bytes(16))
    outputs = Outputs(Origin("m", 3, 0), (block,), ((1,),))
    assert burst.succeed(outputs, 0, 4, 1) == 3
    assert {place: (trace.status, trace.text) for place, trace in traces.items()} == {
        1: (Status.OK, ""),
        2: (Status.CANCELLED, "the caller left"),
        5: (None, ""),
    }
    assert traces[1].attributes == {
        "shoal.model.name": "m" * 120,
        "shoal.request.id": "id 1",
        "shoal.model.version": "3",
        "shoal.request.rows": 1,
    }
    assert not traces[5].attributes
    assert not done, "their batch has not ended"
