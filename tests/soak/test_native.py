"""Minutes of cancels, disconnects and large bodies on the native transport: memory does not grow."""

import sys
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from random import Random
from time import monotonic

import numpy as np
import pytest

from shoal_server.transport.choice import why_not_native
from shoal_testing import models, server
from shoal_testing.caller import INFER, Caller, request_of
from shoal_testing.http2 import RawHttp2, grpc_message
from shoal_testing.memory_trend import trend
from shoal_testing.process import server_process

SOAK_S = 150.0
SAMPLE_S = 0.5
WARM_UP = 0.3  # of the samples: what allocators keep of the first large bodies
GROWTH_BYTES = 16 << 20
"""By how much the fitted line may rise in all: a body of the largest kind that is not given back."""

LARGEST_ROWS = 2 << 20
STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"
MESSAGE = request_of("pair", x=np.array([[5, 6]], np.float32)).SerializeToString()


class Load:
    """Callers who misbehave, each in his way, until it is over; ``done`` counts what they did."""

    def __init__(self, address: str, seed: int) -> None:
        self._address = address
        self._seed = seed
        self._ends_s = monotonic() + SOAK_S
        self.done: Counter[str] = Counter()
        self.wrong: list[str] = []

    def ways(self) -> Sequence[Callable[[Random], None]]:
        return [self._cancel, self._disconnect, self._large, self._leave_large]

    def run(self, number: int, way: Callable[[Random], None]) -> None:
        """Behave in one way until the end."""
        chance = Random(self._seed + number)
        while monotonic() < self._ends_s:
            try:
                way(chance)
            except OSError as error:
                self.wrong.append(f"{way.__name__}: {error!r}")
                return

    @property
    def over(self) -> bool:
        return monotonic() >= self._ends_s

    def _cancel(self, chance: Random) -> None:
        with Caller(self._address) as caller:
            calls = [caller.begin(MESSAGE) for _ in range(100)]
            leaving = set(chance.sample(range(100), 50))
            for number in leaving:
                calls[number].cancel()
            for number, call in enumerate(calls):
                status = call.outcome().status
                self.done[f"left: {status}" if number in leaving else f"stayed: {status}"] += 1

    def _disconnect(self, chance: Random) -> None:
        """Go in the middle of a call, with a farewell or without."""
        whole = grpc_message(MESSAGE)
        with RawHttp2(self._address) as connection:
            for path in chance.choices((INFER, STREAM), k=3):
                stream = connection.begin(path)
                connection.write(stream, (whole * 2)[: chance.randrange(2 * len(whole))], end=chance.random() < 0.2)
            if chance.random() < 0.7:
                connection.reset()
        self.done["disconnects"] += 1

    def _large(self, chance: Random) -> None:
        rows = chance.randrange(LARGEST_ROWS // 4, LARGEST_ROWS)
        array = np.full((rows, 2), chance.random(), np.float32)
        with Caller(self._address) as caller:
            outcome = caller.infer(request_of("pair", x=array))
            self.done[f"large: {outcome.status}"] += 1
            if outcome.status == "OK" and not np.array_equal(outcome.array(), array):
                self.wrong.append("an answer that is not the model's")

    def _leave_large(self, chance: Random) -> None:
        """Leave while a large request is sent or its answer is."""
        array = np.zeros((LARGEST_ROWS // 2, 2), np.float32)
        message = request_of("pair", x=array).SerializeToString()
        with Caller(self._address) as caller, ExitStack() as stack:
            call = caller.begin(message)
            stack.callback(call.outcome)
            threading.Event().wait(chance.random() * 0.1)
            call.cancel()
        self.done["large, left"] += 1


@pytest.mark.soak
@pytest.mark.skipif(bool(why_not_native()), reason=str(why_not_native()))
def test_memory_is_flat_under_cancels_disconnects_and_large_bodies(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "transport", "native")
    models.save(tmp_path / "models", "pair", models.identity("FP32", ["N", 2]))
    with server_process("models", folder=tmp_path) as process:
        address = process.ready_address()
        load = Load(address, seed)
        threads = [threading.Thread(target=load.run, args=pair) for pair in enumerate(load.ways())]
        for thread in threads:
            thread.start()
        resident: list[int] = []
        while not load.over:
            threading.Event().wait(SAMPLE_S)
            resident.append(process.resident_bytes())
        for thread in threads:
            thread.join()
        with Caller(address) as caller:
            assert caller.call(MESSAGE).status == "OK"
        assert [line for line in process.errors if " ERROR " in line or "Traceback" in line] == []
    steady = resident[int(WARM_UP * len(resident)) :]
    memory = trend(steady)
    sys.stdout.write(f"resident memory: {memory}, peak {max(resident) / 2**20:.0f} MiB; {dict(load.done)}\n")
    assert load.wrong == []
    assert load.done["large: OK"] > 0
    assert memory.slope * len(steady) < GROWTH_BYTES, memory
