"""Bursts of calls: a bug that one of them meets is nobody else's."""

from collections.abc import Sequence
from typing import Any

import pytest

from shoal_server.rpc.encode import ResponseEncoder
from shoal_server.rpc.inference import InferenceHandler
from shoal_server.service import Asked
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
