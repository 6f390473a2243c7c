"""A model in a real server that computes when the test lets it: the state in between can be looked at without haste."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from shoal_server.batching.execution import Control, Runner
from shoal_server.batching.quick import QuickExecutor
from shoal_server.tensors.batch import Array
from shoal_server.tensors.invariance import InvarianceFinding
from shoal_server.tensors.spec import Signature
from shoal_testing.at_rest import batcher_of, on_loop
from shoal_testing.server import RunningServer

_OPENED_WITHIN_S: Final = 15.0


class GatedRunner:
    """A model behind a gate. ``runs`` are the first inputs of every run that has begun."""

    def __init__(self, runner: Runner) -> None:
        self.inner = runner
        self.runs: list[Array] = []
        self._begun = threading.Semaphore(0)
        self._gate = threading.Semaphore(0)
        self._open = False

    @property
    def signature(self) -> Signature:
        return self.inner.signature

    @property
    def invariance(self) -> InvarianceFinding:
        return self.inner.invariance

    @property
    def batching_reason(self) -> str:
        return self.inner.batching_reason

    @property
    def tuning_reason(self) -> str:
        return self.inner.tuning_reason

    @property
    def steady(self) -> bool:
        return self.inner.steady

    @property
    def timings(self) -> Sequence[tuple[int, float]]:
        return self.inner.timings

    def run(self, inputs: Sequence[Array | None], control: Control | None) -> Sequence[Array]:
        first = inputs[0]
        assert first is not None
        self.runs.append(first.copy())
        self._begun.release()
        if not self._open:
            assert self._gate.acquire(timeout=_OPENED_WITHIN_S), "the test has not opened the gate"
        return self.inner.run(inputs, control)

    def wait_for_run(self) -> None:
        """Wait until one more run has begun."""
        assert self._begun.acquire(timeout=_OPENED_WITHIN_S), "no run has begun"

    def pass_one(self) -> None:
        """Let one run pass."""
        self._gate.release()

    def open(self) -> None:
        """Let all runs pass, those that wait and those that will come."""
        self._open = True
        self._gate.release(1000)

    def rows_seen(self) -> set[float]:
        """Return the first number of every row that was ever computed."""
        return {float(row.flat[0]) for run in self.runs for row in run}


@contextmanager
def gated(running: RunningServer, model: str) -> Iterator[GatedRunner]:
    """Put a gate, closed at first, before the newest version of a model; on leaving it is opened and taken away."""
    batcher = batcher_of(running, model)
    gate = GatedRunner(batcher.runner)
    # What waits at a gate must not do so on the loop.
    executor = batcher._executor  # noqa: SLF001
    assert isinstance(executor, QuickExecutor)
    is_quick = executor.is_quick

    def put(runner: Runner, says_so: Callable[[object, int], bool]) -> None:
        batcher.runner = runner
        executor.is_quick = says_so  # type: ignore[assignment]

    on_loop(running, lambda: put(gate, lambda _form, _rows: False))
    try:
        yield gate
    finally:
        gate.open()
        on_loop(running, lambda: put(gate.inner, is_quick))
