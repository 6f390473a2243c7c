"""The composition root: builds everything once, runs it, and takes it down in order."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from math import floor
from random import Random
from typing import Final

from shoal_server.admission.callers import Callers
from shoal_server.admission.gate import Gate, GateStatistics
from shoal_server.batching.batcher import Batcher
from shoal_server.batching.quick import QuickExecutor
from shoal_server.batching.slots import Slots
from shoal_server.clock import MonotonicClock
from shoal_server.config import Settings
from shoal_server.errors import LoadFailed
from shoal_server.lifecycle.manager import Manager
from shoal_server.lifecycle.states import VersionState
from shoal_server.lifecycle.surroundings import Surroundings
from shoal_server.listeners import Listeners
from shoal_server.mailbox import Mailbox
from shoal_server.rpc.admin import admin_routes
from shoal_server.rpc.door import Door
from shoal_server.rpc.readiness import Readiness
from shoal_server.rpc.routes import routes
from shoal_server.rpc.server import About
from shoal_server.runtime import OrtLoader, available_cpus
from shoal_server.runtime.resident import ProcessMemory
from shoal_server.runtime.threads import Threads
from shoal_server.service import BatcherFactory, InferenceService
from shoal_server.sources import Settings as ModelSettings
from shoal_server.sources import StateFolder, default_state, open_source
from shoal_server.telemetry.event_log import EventLog, Observers
from shoal_server.telemetry.snapshot import Sources
from shoal_server.telemetry.telemetry import Telemetry
from shoal_server.transport.choice import chosen

_log: Final = logging.getLogger("shoal")

_LAST_ANSWERS_S: Final = 1.0  # for answers that are given and not yet on the wire, and for streams that idle


class Server:
    """Everything of one server, made and used on one loop: ``start``, then ``stop``, even if the start failed.

    Raises:
        ConfigError: the settings contradict each other, or certificates cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._clock = MonotonicClock()
        callers = settings.callers.options()
        self._gate = Gate(settings.limits.options(), Callers(callers) if callers else None)
        self.readiness = Readiness()
        self._door = Door(self._gate, self.readiness)
        self.telemetry = Telemetry(settings.telemetry.options(), self._clock)
        observer = Observers([EventLog(), self.readiness, self.telemetry], of_batches=[self.telemetry])
        cpus = available_cpus()
        whole_cpus = max(1, floor(cpus))
        slots = settings.runtime.slots or whole_cpus
        mailbox = Mailbox(asyncio.get_running_loop())
        self._runners = Threads(slots, "shoal-run", mailbox)
        self._loaders = Threads(settings.runtime.load_threads or whole_cpus, "shoal-load", mailbox)
        # What is over at once must not wait for a load: a rollback, say.
        self._clerk = Threads(1, "shoal-clerk", mailbox)
        fairness = callers.fairness if callers else None
        executor = QuickExecutor(self._runners)
        factory = BatcherFactory(self._gate, Slots(slots), executor, self._clock, observer, fairness=fairness)
        self._ledger = factory.ledger
        defaults = ModelSettings(batching=settings.batching.options(), runtime=settings.runtime.options())
        source = open_source(settings.models, defaults)
        lifecycle = settings.lifecycle
        self._state = StateFolder(
            lifecycle.state or default_state(settings.models), required=lifecycle.state is not None
        )
        around = Surroundings(
            OrtLoader(cpus), factory, self._loaders, observer, self._clock, ProcessMemory(), lifecycle.load_limit_s
        )
        self.manager: Manager[Batcher] = Manager(source, self._state, around, self._clerk, lifecycle.keep_warm_s)
        self.readiness.follow(self.manager)
        jitter = partial(Random().uniform, 0.5, 1.5)  # noqa: S311 - spreads out retries, keeps no secret
        self.transport_name = chosen(settings.transport)
        """What carries the calls: native or grpcio."""
        self._listeners = Listeners(
            settings,
            self.telemetry.traced(
                routes(
                    InferenceService(self._gate, self.manager, self._clock, jitter),
                    self.manager,
                    self.readiness,
                    self._clock,
                    About(version("shoal"), self.transport_name),
                    callers=callers,
                ).joined(admin_routes(self.manager, self._door, self._clock))
            ),
            self._clock,
            mailbox,
            observer,
            self.transport_name,
        )

    async def start(self) -> str:
        """Listen, so that probes are answered, then load the models; return the address for everybody, as bound.

        Raises:
            OSError: an address cannot be bound.
            LoadFailed: the source of the models cannot be read, or it is one file and that cannot be served.
        """
        address = await self._listeners.start()
        await self.telemetry.start(
            Sources(
                self._listeners.statistics,
                self._listeners.unread,
                self._gate,
                self._ledger,
                lambda: self.manager.catalog.slots(),  # noqa: PLW0108 - the catalog of then, not of now
                self.telemetry.operations,
            )
        )
        await self.manager.start()
        entries = self.manager.catalog.models.values()
        nothing = not any(entry.newest_ready for entry in entries)
        if nothing and await self._loaders.call(self._settings.models.is_file):
            reasons = [entry.problem for entry in entries] + [slot.reason for slot in self.manager.catalog.slots()]
            raise LoadFailed("; ".join(reason for reason in reasons if reason))
        if not entries:
            _log.warning("no models in %s: wanted NAME/1/model.onnx", self._settings.models)
        self.readiness.started()
        return address

    async def stop(self, grace_s: float) -> bool:
        """Not ready first; let what is inside finish; end changes; then close the wire, the models and the threads.

        Returns whether everything ended by itself within the grace.
        """
        ends_s = self._clock.monotonic() + grace_s
        self._door.stop()
        for slot in self.manager.catalog.slots():
            if slot.engine is not None:
                slot.engine.hurry()
        finished = await self._within(self._gate.emptied(), ends_s)
        self.manager.end_changes()
        await self._listeners.stop(min(_LAST_ANSWERS_S, max(ends_s - self._clock.monotonic(), 0.0)))
        unloaded = await self._within(self.manager.close(), max(ends_s, self._clock.monotonic() + _LAST_ANSWERS_S))
        await self.telemetry.stop(max(ends_s - self._clock.monotonic(), _LAST_ANSWERS_S))
        self._runners.close()
        self._loaders.close()
        self._clerk.close()
        self._state.close()
        return finished and unloaded

    @property
    def busy(self) -> bool:
        """Whether a thread still computes or loads, which nobody waits for any more once the server has stopped."""
        return self._runners.busy or self._loaders.busy or self._clerk.busy

    @property
    def inside(self) -> GateStatistics:
        """What is under way now."""
        return self._gate.statistics()

    def summary(self) -> str:
        """Say where what is served, for the line that tells the operator that it is."""
        models = self.manager.catalog.models
        slots = list(self.manager.catalog.slots())
        ready = sum(slot.state is VersionState.READY for slot in slots)
        failed = sum(slot.state is VersionState.FAILED for slot in slots)
        failed += sum(bool(entry.problem) for entry in models.values())
        served = f"{_counted(ready, 'model version')} of {_counted(len(models), 'model')}"
        served += f", {failed} failed" if failed else ""
        return f"{self._listeners.summary()}, serving {served}"

    async def _within(self, awaitable: Coroutine[None, None, None], ends_s: float) -> bool:
        try:
            async with asyncio.timeout(max(ends_s - self._clock.monotonic(), 0.0)):
                await awaitable
        except TimeoutError:
            return False
        return True


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


async def serve(settings: Settings, *, announce: Callable[[str], None]) -> int:
    """Serve until SIGTERM or SIGINT; return the process's exit code, 0 where everything under way was finished.

    ``announce`` is given one line with the word "ready" and the address when the models are loaded. A second signal
    ends the process at once.

    Raises:
        ConfigError: the settings contradict each other, or certificates cannot be used.
        OSError: an address cannot be bound.
        LoadFailed: the source of the models cannot be read.
    """
    with _stop_signal() as stop:
        server = Server(settings)
        starting = asyncio.create_task(server.start())
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
                announce(f"ready on {server.summary()}")
                await stopping
            _log.info("draining, for at most %g s", settings.grace_s)
        finally:
            starting.cancel()
            stopping.cancel()
            finished = await server.stop(settings.grace_s)
        if finished:
            _log.info("stopped: all that was under way was finished")
        else:
            _log.error("requests were still under way after %g s", settings.grace_s)
        exit_code = 0 if finished else 1
        if server.busy:
            # The interpreter ends threads that come back to it at its own end; one that comes out of ONNX Runtime takes
            # the process with it, by SIGABRT.
            logging.shutdown()
            sys.stdout.flush()
            os._exit(exit_code)
        return exit_code


@contextmanager
def _stop_signal() -> Iterator[asyncio.Event]:
    """Yield an event that the first SIGTERM or SIGINT sets; the second ends the process."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def received(number: signal.Signals) -> None:
        if stop.is_set():
            _log.warning("%s while it stops: ended at once, whatever was under way", number.name)
            logging.shutdown()
            os._exit(1)
        _log.info("%s: stopping", number.name)
        stop.set()

    signals = (signal.SIGTERM, signal.SIGINT)
    for number in signals:
        loop.add_signal_handler(number, received, number)
    try:
        yield stop
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
