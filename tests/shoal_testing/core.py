"""The whole core wired to fakes, on virtual time: from the service inwards, everything is real."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from shoal_server.admission.callers import Callers
from shoal_server.admission.gate import Gate
from shoal_server.batching.batcher import Batcher
from shoal_server.batching.slots import Slots
from shoal_server.errors import ShoalError
from shoal_server.events import Observer, Traced
from shoal_server.lifecycle.definition import ModelDefinition
from shoal_server.lifecycle.manager import Manager
from shoal_server.lifecycle.ports import LoadedModel
from shoal_server.lifecycle.slot import VersionSlot
from shoal_server.lifecycle.surroundings import Surroundings
from shoal_server.options import AdmissionOptions, CallerOptions
from shoal_server.service import Admission, BatcherFactory, InferenceRequest, InferenceService
from shoal_server.tensors.spec import Tensor
from shoal_testing.fake_executor import FakeExecutor, FakeWorkers
from shoal_testing.fake_model import FakeModel
from shoal_testing.fakes import (
    Answered,
    FakeLoader,
    FakeResident,
    FakeSource,
    FakeStore,
    RecordingObserver,
    RecordingResponder,
    definition,
    tensor,
)
from shoal_testing.virtual_threads import VirtualThreads
from shoal_testing.virtual_time import VirtualClock, run_virtual, virtual_loop


@dataclass
class Sent:
    """A request on its way: its responder, and what cancels it (None where it was refused)."""

    responder: RecordingResponder
    admission: Admission | None = None
    refusal: ShoalError | None = None

    @property
    def answer(self) -> Answered:
        return self.responder.answer

    @property
    def error(self) -> ShoalError:
        """What it was refused or answered with."""
        return self.refusal or self.responder.error

    def cancel(self) -> None:
        assert self.admission is not None, self.refusal
        self.admission.cancel()


class Core:
    """Gate, slots, manager and service over fakes. Under ``run_virtual`` only; see ``run_core``."""

    def __init__(  # noqa: PLR0913 - a test names those that it is about
        self,
        *definitions: ModelDefinition,
        slots: int = 1,
        admission: AdmissionOptions | None = None,
        make: Callable[["Core", ModelDefinition, int], FakeModel] | None = None,
        start_after_s: Callable[[], float] = lambda: 0.0,
        done_after_s: Callable[[], float] = lambda: 0.0,
        thread_after_s: Callable[[], float] = lambda: 0.0,
        submitted: Callable[[Any], None] = lambda _work: None,
        made: Callable[[Batcher], None] = lambda _batcher: None,
        observer: Observer | None = None,
        store: FakeStore | None = None,
        load_limit_s: float = 20.0,
        callers: CallerOptions | None = None,
        quick: Callable[[], bool] = lambda: False,
        hangs: Callable[[Any], bool] = lambda _work: False,
    ) -> None:
        self.loop = virtual_loop()
        self.clock = VirtualClock(self.loop)
        self.threads = VirtualThreads(self.loop)
        self.gate = Gate(admission or AdmissionOptions(), Callers(callers) if callers else None)
        self.slots = Slots(slots)
        self.events = RecordingObserver()
        self.executor = FakeExecutor(
            self.threads,
            start_after_s=start_after_s,
            done_after_s=done_after_s,
            submitted=submitted,
            quick=quick,
            hangs=hangs,
        )
        self.source = FakeSource(*definitions)
        self.loader = FakeLoader((lambda wanted, version: make(self, wanted, version)) if make else None)
        self._made = made
        self.batchers: list[Batcher] = []
        """All that were ever made, oldest first."""
        self.versions: list[VersionSlot[Batcher]] = []
        """The slot of each batcher."""
        self.store = store or FakeStore()
        self._factory = BatcherFactory(
            self.gate,
            self.slots,
            self.executor,
            self.clock,
            observer or self.events,
            fairness=callers.fairness if callers else None,
            cpu_ns=lambda: round(self.loop.time() * 1e9),
        )
        workers = FakeWorkers(self.threads, thread_after_s)
        around = Surroundings(
            self.loader, self._batcher, workers, observer or self.events, self.clock, FakeResident(), load_limit_s
        )
        self.manager: Manager[Batcher] = Manager(self.source, self.store, around, workers)
        self.service = InferenceService(self.gate, self.manager, self.clock)

    @property
    def batcher(self) -> Batcher:
        """The newest batcher."""
        return self.batchers[-1]

    @property
    def model(self) -> FakeModel:
        """The newest loaded model."""
        return self.loader.loaded[-1]

    def offer(  # noqa: PLR0913 - the fields of a request
        self,
        tensors: Sequence[Tensor],
        model: str = "m",
        version: str = "",
        *,
        outputs: Sequence[str] = (),
        size_bytes: int = 100,
        within_s: float | None = None,
        timeout_s: float | None = None,
        priority: int = 0,
        caller: str = "",
        trace: Traced | None = None,
        before: Callable[[], None] = lambda: None,
        encode: Callable[[], None] = lambda: None,
    ) -> Sent:
        """Ask without ``flush``. ``within_s`` is the deadline from now."""
        sent = Sent(RecordingResponder(self.loop.time, before, encode))
        deadline_s = None if within_s is None else self.loop.time() + within_s
        request = InferenceRequest(
            model, version, tensors, outputs, size_bytes, deadline_s, timeout_s, priority, caller, trace
        )
        try:
            sent.admission = self.service.infer(request, sent.responder)
        except ShoalError as error:
            sent.refusal = error
        return sent

    def send(
        self,
        numbers: int | Sequence[int],
        model: str = "m",
        version: str = "",
        **kwargs: Any,  # noqa: ANN401 - those of offer
    ) -> Sent:
        """Ask for one row per number, and flush."""
        sent = self.offer(rows_of(numbers), model, version, **kwargs)
        self.service.flush()
        return sent

    def assert_at_rest(self) -> None:
        """Nothing is held by anyone: what every test should come back to."""
        assert (self.gate.requests, self.gate.rows, self.gate.size_bytes) == (0, 0, 0), self.gate
        assert self.slots.free == self.slots.total, self.slots
        for version, batcher in zip(self.versions, self.batchers, strict=True):
            assert (version.leases, batcher.waiting, batcher.running) == (0, 0, 0), f"{version} {batcher}"

    def _batcher(self, slot: VersionSlot[Batcher], loaded: LoadedModel, broken: Callable[[str], None]) -> Batcher:
        batcher = self._factory(slot, loaded, broken)
        self._made(batcher)
        self.batchers.append(batcher)
        self.versions.append(slot)
        return batcher


def run_core(
    test: Callable[[Core], Coroutine[Any, Any, None]],
    *definitions: ModelDefinition,
    seed: int = 0,
    **kwargs: Any,  # noqa: ANN401 - those of Core
) -> None:
    """Run a test over a core that serves ``definitions`` (by default a model ``m``); afterwards, nothing may be left.

    ``kwargs`` go to ``Core``.
    """

    async def main() -> None:
        core = Core(*(definitions or (definition("m"),)), **kwargs)
        try:
            await core.manager.start()
            await test(core)
            await core.manager.close()
            core.assert_at_rest()
            assert not core.loop.timers(), core.loop.timers()
            assert not any(model.violations for model in core.loader.loaded), [m.violations for m in core.loader.loaded]
        finally:
            core.threads.close()

    run_virtual(main(), seed)


async def wait(seconds: float) -> None:
    """Let that much virtual time pass."""
    await asyncio.sleep(seconds)


def rows_of(numbers: int | Sequence[int], width: int = 1) -> list[Tensor]:
    """Return the input ``x`` with one row per number."""
    column = np.atleast_1d(np.asarray(numbers, np.int64))
    return [tensor("x", np.repeat(column[:, None], width, axis=1))]
