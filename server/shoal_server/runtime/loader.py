"""From a version's file to a model that serves: loaded, understood, warmed up."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial

import numpy as np

from shoal_server.clock import Clock, MonotonicClock
from shoal_server.errors import ExecutionFailed, LoadFailed
from shoal_server.lifecycle.definition import ModelDefinition
from shoal_server.lifecycle.ports import FileDigest
from shoal_server.runtime import heap, huge_pages
from shoal_server.runtime.apart import WORTH_A_PROCESS_BYTES, Apart, NoProcessError
from shoal_server.runtime.digests import digests
from shoal_server.runtime.examination import TRIALS_LIMIT_S, Examined, Examiner, open_declared
from shoal_server.runtime.made_up import Profile
from shoal_server.runtime.model_files import require_readable, snapshot, unread
from shoal_server.runtime.ort_model import Origin, OrtModel
from shoal_server.runtime.ort_session import OrtSession
from shoal_server.runtime.quiet import Quiet
from shoal_server.runtime.run_control import Watchdog
from shoal_server.runtime.tuner import Open
from shoal_server.runtime.variable_lengths import declared_lengths
from shoal_server.runtime.warmup import run_warmup


class OrtLoader:
    """Implements ``lifecycle.ports.Loader`` with ONNX Runtime on the CPU. ``cpus`` is how many this process may use.

    ``own_s`` is the time for which the calling thread had a processor, in seconds.
    """

    def __init__(self, cpus: float, clock: Clock | None = None, own_s: Callable[[], float] = time.thread_time) -> None:
        self._examiner = Examiner(cpus, clock or MonotonicClock(), own_s)
        self._apart = Apart(cpus)
        self._watchdog = Watchdog(TRIALS_LIMIT_S)
        self._quiet = Quiet()
        self._heap = heap.Heap()

    def load(self, definition: ModelDefinition, version: int, warming: Callable[[], None]) -> OrtModel:
        """Load, find out about and warm up one version; ``warming`` is called before the last of these.

        Raises:
            LoadFailed: the version cannot be served; the text names the file and says why.
        """
        path = definition.versions[version]
        origin = Origin(path, version, snapshot(path, version))
        with self._heap.loading():
            loaded = self._attempt(definition, origin, warming)
        if not origin.is_current():
            if isinstance(loaded, OrtModel):
                loaded.close()
            loaded = "it changed while it was being loaded"
        heap.give_back(origin.files.size_bytes)
        if isinstance(loaded, str):
            raise LoadFailed(f"{path.name}: {loaded}")
        return loaded

    def _attempt(self, definition: ModelDefinition, origin: Origin, warming: Callable[[], None]) -> OrtModel | str:
        """Return the model, or why there is none: without the exception, whose traceback would keep a session alive."""
        try:
            require_readable(origin.path)
            return self._load(definition, origin, warming)
        except LoadFailed as error:
            return str(error)
        except OSError as error:  # it is taken away while it loads, or the process has no descriptor left
            return f"it cannot be read: {unread(error)}"

    def _load(self, definition: ModelDefinition, origin: Origin, warming: Callable[[], None]) -> OrtModel:
        size_bytes = origin.files.size_bytes
        session, examined, files = self._examined(definition, origin)
        self._quiet.do(size_bytes, lambda: huge_pages.gather(size_bytes))
        warming()
        if definition.warmups:
            self._quiet.do(size_bytes, lambda: _warm_up(definition, session))
        lengths = declared_lengths(definition, session)
        if lengths is not None and not examined.padded:
            lengths = lengths.unjoined()
        return OrtModel(
            session, examined.finding, examined.tuning, origin, files, examined.timings, examined.invariance, lengths
        )

    def _examined(
        self, definition: ModelDefinition, origin: Origin
    ) -> tuple[OrtSession, Examined, tuple[FileDigest, ...]]:
        """Return a session, what was found out, elsewhere where that is worth a process, and what the files hold."""
        path, size_bytes = origin.path, origin.files.size_bytes
        alone = len(origin.files.files) == 1

        def summed() -> tuple[FileDigest, ...]:
            return self._quiet.do(size_bytes, lambda: digests(path, alone=alone))

        if size_bytes < WORTH_A_PROCESS_BYTES:
            return *self._examined_here(definition, origin, partial(open_declared, definition, path)), summed()
        try:
            report = self._apart.examine(definition, path, size_bytes, alone=alone)
        except NoProcessError as error:
            # Without a second session, as to free one of this size holds the interpreter's lock.
            session, examined = self._examined_here(definition, origin, None)
            reason = f"{examined.tuning.reason}; not tried on several threads, as {error}"
            return session, replace(examined, tuning=replace(examined.tuning, reason=reason)), summed()
        session = self._open(definition, origin, report.tuning.intra_op_threads)
        recipe = report.recipe([tensor.spec for tensor in session.inputs])
        if recipe is not None:
            inputs = recipe.draw(np.random.default_rng(0), Profile.ORDINARY, 1)
            with self._watchdog.limit() as limit, suppress(ExecutionFailed):  # the first run sets out memory
                self._quiet.do(size_bytes, lambda: session.run(inputs, limit))
        return session, report.examined(recipe), report.files

    def _examined_here(
        self, definition: ModelDefinition, origin: Origin, open_more: Open | None
    ) -> tuple[OrtSession, Examined]:
        threads = definition.runtime.intra_op_threads or 1
        first = self._open(definition, origin, threads)
        with self._watchdog.limit() as limit:
            examined, session = self._quiet.do(
                origin.files.size_bytes,
                lambda: self._examiner.examine(definition, origin.path, first, open_more, limit),
            )
        if examined.tuning.intra_op_threads != threads:
            session.close()
            session = self._open(definition, origin, examined.tuning.intra_op_threads)
        return session, examined

    def _open(self, definition: ModelDefinition, origin: Origin, threads: int) -> OrtSession:
        if threads > 1:  # these keep the priority of their maker for good
            return open_declared(definition, origin.path, threads)
        return self._quiet.do(origin.files.size_bytes, lambda: open_declared(definition, origin.path, threads))


def _warm_up(definition: ModelDefinition, session: OrtSession) -> None:
    specs = [tensor.spec for tensor in session.inputs]
    for warmup in definition.warmups:
        run_warmup(warmup, specs, lambda arrays: session.run(arrays, None))
