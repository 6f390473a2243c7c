"""What is to be known of a version before it serves, found out by running it."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Final, Protocol

import numpy as np

from shoal_server.clock import Clock
from shoal_server.errors import ExecutionFailed, LoadFailed
from shoal_server.lifecycle.definition import ModelDefinition
from shoal_server.lifecycle.ports import Tuning
from shoal_server.options import BatchingMode, BatchInvariance
from shoal_server.runtime.batch_probe import BatchProbe, Finding, forbidden_by_dims, row_symbols
from shoal_server.runtime.declarations import agree
from shoal_server.runtime.invariance_probe import InvarianceProbe
from shoal_server.runtime.made_up import Execute, Profile, Recipe, find_recipe
from shoal_server.runtime.measured import Measured
from shoal_server.runtime.onnx_file import stored_texts
from shoal_server.runtime.opening import open_session
from shoal_server.runtime.ort_session import OrtSession
from shoal_server.runtime.run_control import TimeLimit
from shoal_server.runtime.sizing import QUICK_S, Sizing, Trial, choose, sized, untried, worth_trying
from shoal_server.runtime.trials import Inputs, Trials
from shoal_server.runtime.variable_lengths import DEPENDS_ON_LENGTHS, Varying, declared_lengths, find_varying
from shoal_server.tensors.batch import Array
from shoal_server.tensors.datatype import DataType
from shoal_server.tensors.invariance import NOT_FOUND_OUT, InvarianceFinding
from shoal_server.tensors.spec import Signature

TRIALS_LIMIT_S: Final = 20.0
"""A model that computes until it is stopped must not keep its loading thread for good."""

_MOST_TIMED_ROWS: Final = 256
_RUNS: Final = 4
_COST_BUDGET_S: Final = 0.1  # after which no larger batch is tried for what it takes


class Open(Protocol):
    """Opens a session of the model with so many threads."""

    def __call__(self, threads: int) -> OrtSession:
        """Open one.

        Raises:
            LoadFailed: it cannot be served.
        """
        ...


@dataclass(frozen=True, slots=True)
class Examined:
    """What was found out: ``timings`` are rows and seconds of runs, ``recipe`` is what the model runs on, if known.

    Where lengths vary, the timings are of padded cells, and ``padded`` says whether lengths are padded.
    """

    finding: Finding
    tuning: Tuning
    invariance: InvarianceFinding
    timings: tuple[tuple[int, float], ...] = ()
    recipe: Recipe | None = None
    padded: bool = False


class _OutOfTimeError(Exception):
    """What we wanted to find out took too long."""


class Examiner:
    """Examines versions. ``cpus`` is how many this process may use; ``own_s`` the time that a thread had one."""

    def __init__(self, cpus: float, clock: Clock, own_s: Callable[[], float]) -> None:
        self._cpus = cpus
        self._clock = clock
        self._trials = Trials(clock, own_s)

    def examine(  # noqa: PLR0913, PLR0917 - what is examined, and what bounds that
        self,
        definition: ModelDefinition,
        path: Path,
        session: OrtSession,
        open_more: Open | None,
        limit: TimeLimit,
        known: Measured | None = None,
    ) -> tuple[Examined, OrtSession]:
        """Return what was found out, and the session that is as it says; other sessions are closed.

        ``session`` has the threads that the owner wants, else one; ``open_more`` opens others, None where there is no
        room for a second. ``limit`` ends what a run takes. ``known`` was measured of another version of the same graph:
        it goes in the place of trials where both are batched or neither is.

        Raises:
            LoadFailed: the owner wants what cannot be.
        """
        finding, recipe = self._find_batching(definition, path, session, limit)
        varying = _find_varying(definition, session, finding, recipe, limit)
        if varying is not None:
            finding, recipe = finding._replace(reason=f"{finding.reason}; {varying.remark}"), varying.recipe
        padded = varying is not None and varying.padded
        sizing = sized(self._cpus, definition.runtime.intra_op_threads or 1)
        if recipe is None:
            why = "nothing that it runs on could be made up"
            return Examined(finding, untried(sizing, why), _without_probe(finding), padded=padded), session
        most_rows = definition.batching.max_rows if finding.batched else 1
        tuner = _Tuner(self._cpus, self._clock, self._trials, definition, min(most_rows, _MOST_TIMED_ROWS), limit)
        if known is not None and known.batched == finding.batched:
            tuning = known.inherited
            if tuning.intra_op_threads != (definition.runtime.intra_op_threads or 1):
                session.close()
                session = open_declared(definition, path, tuning.intra_op_threads)
        else:
            known = None
            tuning, session = tuner.tune(session, recipe, open_more)
        finding, invariance = self._find_invariance(definition, session, finding, recipe, limit)
        if finding.batched and definition.answers.needs_one_size(invariance.invariant):
            timings = tuner.timings_of(session, recipe, *definition.batching.at_one_size().allowed_rows)
        else:
            timings = tuner.timings(tuning) if known is None else known.timings
        if varying is not None:
            timings = tuner.timings_by_length(session, varying)
            invariance = DEPENDS_ON_LENGTHS if padded else invariance
        return Examined(finding, tuning, invariance, timings, recipe, padded), session

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

    def _find_invariance(
        self, definition: ModelDefinition, session: OrtSession, finding: Finding, recipe: Recipe, limit: TimeLimit
    ) -> tuple[Finding, InvarianceFinding]:
        """Return whether answers depend on their batches in any bit; batches that cannot help it are not to be."""
        if not finding.batched:
            return finding, _without_probe(finding)
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
        finding = Finding(
            batched=False, reason=f"its owner wants answers that do not depend on the batch, and {why_not}"
        )
        return finding, _without_probe(finding)


def _without_probe(finding: Finding) -> InvarianceFinding:
    """Return what holds without a probe."""
    if finding.batched:
        return NOT_FOUND_OUT
    return InvarianceFinding(invariant=True, reason="its requests run one by one")


class _Tuner:
    """Tries one version in its possible sizings, within its owner's budget."""

    def __init__(  # noqa: PLR0913, PLR0917 - all that bounds the trials
        self,
        cpus: float,
        clock: Clock,
        trials: Trials,
        definition: ModelDefinition,
        most_rows: int,
        limit: TimeLimit,
    ) -> None:
        self._cpus = cpus
        self._clock = clock
        self._trials = trials
        self._threads = definition.runtime.intra_op_threads
        self._budget_s = definition.runtime.tuning_budget_s
        self._padded = definition.batching.padded
        self._options = definition.batching
        self._most_rows = most_rows
        self._limit = limit
        self._known: list[Trial] = []

    def timings(self, tuning: Tuning) -> tuple[tuple[int, float], ...]:
        """Return what runs of the chosen sizing took."""
        chosen = Sizing(tuning.slots, tuning.intra_op_threads)
        return tuple((trial.rows, trial.wall_s) for trial in self._known if trial.sizing == chosen)

    def timings_of(self, session: OrtSession, recipe: Recipe, rows: int) -> tuple[tuple[int, float], ...]:
        """Return what a run of so many rows takes, if that can be known."""
        inputs = recipe.draw(np.random.default_rng(0), Profile.ORDINARY, rows)
        try:
            return ((rows, self._shortest_s(session, inputs)),)
        except (ExecutionFailed, _OutOfTimeError):
            return ()

    def timings_by_length(self, session: OrtSession, varying: Varying) -> tuple[tuple[int, float], ...]:
        """Return padded cells and seconds of batches, as many as there is time for."""
        timings: list[tuple[int, float]] = []
        ends_s = self._clock.monotonic() + _COST_BUDGET_S
        try:
            for batch in varying.batches(self._options, self._most_rows):
                inputs = batch.recipe.draw(np.random.default_rng(0), Profile.ORDINARY, batch.rows)
                timings.append((batch.cells, self._shortest_s(session, inputs, enough_s=0.0)))
                if self._clock.monotonic() >= ends_s:
                    break
        except (ExecutionFailed, _OutOfTimeError):
            pass  # what was measured so far still holds
        return tuple(timings)

    def tune(self, session: OrtSession, recipe: Recipe, open_more: Open | None) -> tuple[Tuning, OrtSession]:
        """Return the best that could be found within the budget, and its session."""
        own = sized(self._cpus, self._threads or 1)
        if not self._budget_s:
            return untried(own, "nothing was to be tried"), session

        def draw(rows: int) -> Inputs:
            return recipe.draw(np.random.default_rng(0), Profile.ORDINARY, self._padded(rows))

        ends_s = self._clock.monotonic() + self._budget_s
        try:
            alone_s = self._shortest_s(session, draw(1), until_s=ends_s)
            full_s = self._shortest_s(session, draw(self._most_rows), until_s=ends_s) if alone_s <= QUICK_S else inf
            if full_s <= QUICK_S:
                small = own if self._threads else Sizing(1, 1)
                self._known = self._trials.run(small, _within(self._limit, session), draw, self._most_rows, ends_s)
                return untried(small, f"a batch of {self._most_rows} rows is over in {full_s * 1e6:.0f} us"), session
            known = self._known = []
            sizings = [own] if self._threads or open_more is None else [*worth_trying(self._cpus, alone_s)]
            until_s = ends_s - self._budget_s * (1 - 1 / len(sizings))
            known += self._trials.run(own, _within(self._limit, session), draw, self._most_rows, until_s)
        except (ExecutionFailed, _OutOfTimeError) as error:
            return untried(own, f"not measured: {error}" if str(error) else "its runs take too long"), session
        for left, sizing in zip(range(len(sizings) - 2, -1, -1), sizings[1:], strict=True):
            assert open_more is not None, "that is why there is more than one sizing"
            until_s = ends_s - self._budget_s * left / len(sizings)
            session = self._better(session, sizing, open_more, draw, until_s)
        return choose(self._known, self._most_rows), session

    def _better(
        self, best: OrtSession, sizing: Sizing, open_more: Open, draw: Callable[[int], Inputs], until_s: float
    ) -> OrtSession:
        """Try another sizing; return the session of the best so far, and close the other."""
        try:
            other = open_more(sizing.intra_op_threads)
        except LoadFailed:  # there is no memory for two, say
            return best
        with suppress(ExecutionFailed, _OutOfTimeError):
            self._known += self._trials.run(sizing, _within(self._limit, other), draw, self._most_rows, until_s)
        tuning = choose(self._known, self._most_rows)
        if Sizing(tuning.slots, tuning.intra_op_threads) == sizing:
            best, other = other, best
        other.close()
        return best

    def _shortest_s(
        self, session: OrtSession, inputs: Inputs, enough_s: float = QUICK_S, until_s: float = inf
    ) -> float:
        """Return what the shortest of some runs took, in seconds; of one where there is no time for more."""
        execute = _within(self._limit, session)
        shortest_s = inf
        for _ in range(_RUNS):
            start_s = self._clock.monotonic()
            execute(inputs)
            ended_s = self._clock.monotonic()
            shortest_s = min(shortest_s, ended_s - start_s)
            if shortest_s <= enough_s or ended_s >= until_s:
                break
        return shortest_s


_decided: Final = {
    BatchingMode.ALWAYS: Finding(batched=True, reason="its owner vouches that rows are independent"),
    BatchingMode.NEVER: Finding(batched=False, reason="its owner does not want it"),
}


def _find_varying(
    definition: ModelDefinition, session: OrtSession, finding: Finding, recipe: Recipe | None, limit: TimeLimit
) -> Varying | None:
    """Return what is to be known of variable lengths where the owner declares them."""
    declared = declared_lengths(definition, session)
    if declared is None:
        return None
    inputs, outputs = (tuple(tensor.spec for tensor in tensors) for tensors in (session.inputs, session.outputs))
    signature = Signature(inputs, outputs, finding.batched, declared)
    execute = _within(limit, session)
    try:
        return find_varying(signature, definition, finding, recipe, execute)
    except _OutOfTimeError:
        return find_varying(signature, definition, finding, None, execute)


def open_declared(definition: ModelDefinition, path: Path, threads: int) -> OrtSession:
    """Open a session, described as the owner declares it.

    Raises:
        LoadFailed: it cannot be opened, or the declarations contradict the file.
    """
    session = open_session(path, threads)
    has_rows = definition.batching.rows_limit > 0
    return session.described(
        agree("input", session.inputs, definition.inputs, has_rows=has_rows),
        agree("output", session.outputs, definition.outputs, has_rows=has_rows),
    )


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
