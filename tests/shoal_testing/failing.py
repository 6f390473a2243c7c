"""A model in a real server that fails as the test says."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from shoal_server.batching.execution import Control, Runner
from shoal_server.tensors.batch import Array
from shoal_server.tensors.invariance import InvarianceFinding
from shoal_server.tensors.spec import Signature
from shoal_testing.at_rest import batcher_of, on_loop
from shoal_testing.server import RunningServer


class FailingRunner:
    """Raises in place of computing."""

    def __init__(self, runner: Runner, error: Exception) -> None:
        self.inner = runner
        self._error = error

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

    def run(self, inputs: Sequence[Array | None], control: Control | None) -> Sequence[Array]:  # noqa: ARG002 - a Runner's
        raise self._error


@contextmanager
def failing(running: RunningServer, model: str, error: Exception) -> Iterator[None]:
    """Have the newest version of a model raise, as long as the context lasts."""
    batcher = batcher_of(running, model)
    runner = batcher.runner

    def put(other: Runner) -> None:
        batcher.runner = other

    on_loop(running, lambda: put(FailingRunner(runner, error)))
    try:
        yield
    finally:
        on_loop(running, lambda: put(runner))
