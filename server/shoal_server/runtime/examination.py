"""What is to be known of a version before it serves, found out by running it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shoal_server.clock import Clock
from shoal_server.errors import LoadFailed
from shoal_server.lifecycle.definition import ModelDefinition
from shoal_server.lifecycle.ports import Tuning
from shoal_server.options import BatchingMode, BatchInvariance
from shoal_server.runtime.batch_probe import BatchProbe, Finding, forbidden_by_dims, row_symbols
from shoal_server.runtime.declarations import agree
from shoal_server.runtime.invariance_probe import InvarianceProbe
from shoal_server.runtime.made_up import Recipe, find_recipe
from shoal_server.runtime.measured import Measured
from shoal_server.runtime.onnx_file import stored_texts
from shoal_server.runtime.opening import open_session
from shoal_server.runtime.ort_session import OrtSession
from shoal_server.runtime.run_control import TimeLimit
from shoal_server.runtime.sizing import sized, untried
from shoal_server.runtime.tuner import Open, Tuner
from shoal_server.runtime.variable_lengths import DEPENDS_ON_LENGTHS, Varying, declared_lengths, find_varying
from shoal_server.runtime.within import OutOfTimeError, within
from shoal_server.tensors.datatype import DataType
from shoal_server.tensors.invariance import NOT_FOUND_OUT, InvarianceFinding
from shoal_server.tensors.spec import Signature

TRIALS_LIMIT_S: Final = 20.0
"""A model that computes until it is stopped must not keep its loading thread for good."""

_MOST_TIMED_ROWS: Final = 256


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


class Examiner:
    """Examines versions. ``cpus`` is how many this process may use; ``own_s`` the time that a thread had one."""

    def __init__(self, cpus: float, clock: Clock, own_s: Callable[[], float]) -> None:
        self._cpus = cpus
        self._clock = clock
        self._own_s = own_s

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
        tuner = Tuner(self._cpus, self._clock, self._own_s, definition, min(most_rows, _MOST_TIMED_ROWS), limit)
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
        execute = within(limit, session)
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
        except OutOfTimeError:
            return _decided.get(mode, Finding(batched=False, reason="it takes too long to find out about")), None

    def _find_invariance(
        self, definition: ModelDefinition, session: OrtSession, finding: Finding, recipe: Recipe, limit: TimeLimit
    ) -> tuple[Finding, InvarianceFinding]:
        """Return whether answers depend on their batches in any bit; batches that cannot help it are not to be."""
        if not finding.batched:
            return finding, _without_probe(finding)
        options, answers = definition.batching, definition.answers
        probe = InvarianceProbe(within(limit, session), [tensor.spec for tensor in session.outputs], self._clock)
        wanted = answers.batch_invariant is not BatchInvariance.NEVER
        try:
            found = probe.find(recipe, options.padded(options.max_rows), thorough=wanted)
            if not answers.needs_one_size(found.invariant):
                return finding, found
            (rows,) = options.at_one_size().allowed_rows
            why_not = probe.why_not_at(recipe, rows)
        except OutOfTimeError:
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
    execute = within(limit, session)
    try:
        return find_varying(signature, definition, finding, recipe, execute)
    except OutOfTimeError:
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
