"""From a version's file to a model that serves: loaded, understood, warmed up."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from shoal_server.clock import Clock, MonotonicClock
from shoal_server.errors import ExecutionFailed, LoadFailed
from shoal_server.lifecycle.definition import ModelDefinition
from shoal_server.options import BatchingMode, BatchInvariance
from shoal_server.runtime import heap, huge_pages
from shoal_server.runtime.batch_probe import BatchProbe, Finding, forbidden_by_dims, row_symbols
from shoal_server.runtime.declarations import agree
from shoal_server.runtime.digests import digests
from shoal_server.runtime.invariance_probe import InvarianceProbe
from shoal_server.runtime.made_up import Execute, Profile, Recipe, find_recipe
from shoal_server.runtime.model_files import require_readable, snapshot, unread
from shoal_server.runtime.onnx_file import stored_texts
from shoal_server.runtime.opening import open_session
from shoal_server.runtime.ort_model import Origin, OrtModel
from shoal_server.runtime.ort_session import OrtSession
from shoal_server.runtime.quiet import Quiet
from shoal_server.runtime.run_control import TimeLimit, Unlimited, Watchdog
from shoal_server.runtime.sizing import QUICK_S, WORTH_TRYING_S, Sizing, choose, quick, sized, threads_worth_trying
from shoal_server.runtime.warmup import run_warmup
from shoal_server.tensors.batch import Array
from shoal_server.tensors.datatype import DataType
from shoal_server.tensors.invariance import NOT_FOUND_OUT, InvarianceFinding

_TRIALS_LIMIT_S: Final = 20.0  # a model that computes until it is stopped must not keep its loading thread for good
_SECOND_SESSION_LIMIT_BYTES: Final = 1 << 30
_MOST_TIMED_ROWS: Final = 256
_TIMED_RUNS: Final = 4
_COST_BUDGET_S: Final = 0.1  # after which no larger batch is tried for what it takes


class _OutOfTimeError(Exception):
    """What we wanted to find out took too long."""


class OrtLoader:
    """Implements ``lifecycle.ports.Loader`` with ONNX Runtime on the CPU. ``cpus`` is how many this process may use."""

    def __init__(self, cpus: float, clock: Clock | None = None) -> None:
        self._cpus = cpus
        self._clock = clock or MonotonicClock()
        self._watchdog = Watchdog(_TRIALS_LIMIT_S)
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
        path, size_bytes = origin.path, origin.files.size_bytes
        threads = definition.runtime.intra_op_threads or 1
        if threads == 1:
            session = self._quiet.do(size_bytes, lambda: _open(definition, path, 1))
        else:
            session = _open(definition, path, threads)
        with self._watchdog.limit() as limit:
            finding, recipe = self._quiet.do(size_bytes, lambda: self._find_batching(definition, path, session, limit))
            chosen, sizing = self._size(definition, origin, session, finding, recipe, limit)
            finding, invariance = self._quiet.do(
                size_bytes, lambda: self._find_invariance(definition, chosen, finding, recipe, limit)
            )
            # At the priority of those who will run it, since deadlines are judged by these; it takes 0.1 s.
            timings = self._timings(definition, chosen, finding, invariance, recipe, limit)
        self._quiet.do(size_bytes, lambda: huge_pages.gather(size_bytes))
        files = self._quiet.do(size_bytes, lambda: digests(path, alone=len(origin.files.files) == 1))
        warming()
        if definition.warmups:
            self._quiet.do(size_bytes, lambda: _warm_up(definition, chosen))
        return OrtModel(chosen, finding, sizing, origin, files, timings, invariance)

    def _find_batching(
        self, definition: ModelDefinition, path: Path, session: OrtSession, limit: TimeLimit
    ) -> tuple[Finding, Recipe | None]:
        """Return whether the model is batched, and inputs that it runs on if such could be made up."""
        inputs = [tensor.spec for tensor in session.inputs]
        outputs = [tensor.spec for tensor in session.outputs]
        mode = definition.batching.mode
        forbidden = forbidden_by_dims(inputs, outputs)
        if mode is BatchingMode.ALWAYS and forbidden is not None:
            raise LoadFailed(f"its owner wants it batched, but {forbidden}")
        takes_text = any(spec.datatype is DataType.BYTES for spec in inputs)
        execute = _within(limit, session)
        recipe: Recipe | None = None
        try:
            found = find_recipe(
                inputs,
                row_symbols(inputs) if forbidden is None else frozenset(),
                stored_texts(path) if takes_text else (),
                execute,
            )
            if isinstance(found, Recipe):
                recipe = found
            if mode is not BatchingMode.AUTO:
                return _decided[mode], recipe
            if forbidden is not None:
                return Finding(batched=False, reason=forbidden), recipe
            if recipe is None:
                return Finding(batched=False, reason=f"it runs on nothing that could be made up: {found}"), None
            return BatchProbe(execute, outputs, self._clock).find(recipe, definition.batching.max_rows), recipe
        except _OutOfTimeError:
            return _decided.get(mode, Finding(batched=False, reason="it takes too long to find out about")), None

    def _size(  # noqa: PLR0913, PLR0917 - all that was found out so far
        self,
        definition: ModelDefinition,
        origin: Origin,
        session: OrtSession,
        finding: Finding,
        recipe: Recipe | None,
        limit: TimeLimit,
    ) -> tuple[OrtSession, Sizing]:
        """Return the session with as many threads as help, which may be another one."""
        size_bytes = origin.files.size_bytes
        alone = session, sized(self._cpus, definition.runtime.intra_op_threads or 1)
        if recipe is None or definition.runtime.intra_op_threads:
            return alone
        try:
            inputs = recipe.draw(np.random.default_rng(0), Profile.ORDINARY, 1)
            run_s = self._quiet.do(size_bytes, lambda: self._time(_within(limit, session), inputs, WORTH_TRYING_S))
            if run_s <= QUICK_S:
                rows = min(definition.batching.max_rows, _MOST_TIMED_ROWS) if finding.batched else 1
                full = recipe.draw(np.random.default_rng(0), Profile.ORDINARY, rows)
                small = quick(self._time(_within(limit, session), full, QUICK_S))
                if small is not None:
                    return session, small
            threads = threads_worth_trying(self._cpus, run_s)
            if threads == 1 or size_bytes > _SECOND_SESSION_LIMIT_BYTES:
                return alone
            parallel = _open(definition, origin.path, threads)
            parallel_run_s = self._quiet.do(size_bytes, lambda: self._time(_within(limit, parallel), inputs))
        except (ExecutionFailed, _OutOfTimeError):
            return alone
        chosen = choose(self._cpus, run_s, threads, parallel_run_s)
        if chosen.intra_op_threads == 1:
            return session, chosen
        session.close()
        return parallel, chosen

    def _find_invariance(
        self,
        definition: ModelDefinition,
        session: OrtSession,
        finding: Finding,
        recipe: Recipe | None,
        limit: TimeLimit,
    ) -> tuple[Finding, InvarianceFinding]:
        """Return whether answers depend on their batches in any bit; batches that cannot help it are not to be."""
        if not finding.batched:
            return finding, InvarianceFinding(invariant=True, reason="its requests run one by one")
        if recipe is None:
            return finding, NOT_FOUND_OUT
        options, answers = definition.batching, definition.answers
        probe = InvarianceProbe(_within(limit, session), [tensor.spec for tensor in session.outputs], self._clock)
        wanted = answers.batch_invariant is not BatchInvariance.NEVER
        try:
            found = probe.find(recipe, options.padded(options.max_rows), thorough=wanted)
            if not answers.needs_one_size(found.invariant):
                return finding, found
            (rows,) = options.at_one_size().allowed_rows
            why_not = probe.why_not_at(recipe, rows)
        except _OutOfTimeError:
            return finding, InvarianceFinding(invariant=None, reason="it takes too long to find out")
        if why_not is None:
            return finding, found
        reason = f"its owner wants answers that do not depend on the batch, and {why_not}"
        return Finding(batched=False, reason=reason), InvarianceFinding(
            invariant=True, reason="its requests run one by one"
        )

    def _timings(  # noqa: PLR0913, PLR0917 - all that was found out so far
        self,
        definition: ModelDefinition,
        session: OrtSession,
        finding: Finding,
        invariance: InvarianceFinding,
        recipe: Recipe | None,
        limit: TimeLimit,
    ) -> list[tuple[int, float]]:
        """Return rows and seconds of some batches of 1, 2, 4 … rows, as large ones as there is time for."""
        timings: list[tuple[int, float]] = []
        if recipe is None:
            return timings
        options = definition.batching
        if definition.answers.needs_one_size(invariance.invariant):
            options = options.at_one_size()
        most = min(options.max_rows, _MOST_TIMED_ROWS) if finding.batched else 1
        sizes = {options.padded(1 << doubled) for doubled in range(most.bit_length())} | {most}
        execute = _within(limit, session)
        ends_s = self._clock.monotonic() + _COST_BUDGET_S
        try:
            for rows in sorted(sizes):
                inputs = recipe.draw(np.random.default_rng(0), Profile.ORDINARY, rows)
                execute(inputs)  # the first of a size is slower: memory is set out for it
                start_s = self._clock.monotonic()
                execute(inputs)
                end_s = self._clock.monotonic()
                timings.append((rows, end_s - start_s))
                if end_s >= ends_s:
                    break
        except (ExecutionFailed, _OutOfTimeError):
            pass  # what was measured so far still holds
        return timings

    def _time(self, execute: Execute, inputs: Sequence[Array | None], enough_s: float = 0.0) -> float:
        """Return the shortest of some runs, in seconds; fewer runs if one of them took no longer than is enough."""
        shortest_s = float("inf")
        for _ in range(_TIMED_RUNS):
            start_s = self._clock.monotonic()
            execute(inputs)
            shortest_s = min(shortest_s, self._clock.monotonic() - start_s)
            if shortest_s <= enough_s:
                break
        return shortest_s


_decided: Final = {
    BatchingMode.ALWAYS: Finding(batched=True, reason="its owner vouches that rows are independent"),
    BatchingMode.NEVER: Finding(batched=False, reason="its owner does not want it"),
}


def _open(definition: ModelDefinition, path: Path, threads: int) -> OrtSession:
    session = open_session(path, threads)
    has_rows = definition.batching.rows_limit > 0
    return session.described(
        agree("input", session.inputs, definition.inputs, has_rows=has_rows),
        agree("output", session.outputs, definition.outputs, has_rows=has_rows),
    )


def _warm_up(definition: ModelDefinition, session: OrtSession) -> None:
    specs = [tensor.spec for tensor in session.inputs]
    for warmup in definition.warmups:
        run_warmup(warmup, specs, lambda arrays: session.run(arrays, Unlimited()))


def _within(limit: TimeLimit, session: OrtSession) -> Execute:
    """Return what runs the session until the time is up."""

    def execute(inputs: Sequence[Array | None]) -> Sequence[Array]:
        try:
            return session.run(inputs, limit)
        except ExecutionFailed as error:
            if limit.over:
                raise _OutOfTimeError from error
            raise

    return execute
