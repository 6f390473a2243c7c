"""Whether rows may be computed together: found out by doing it."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from shoal_server.clock import Clock
from shoal_server.errors import ExecutionFailed
from shoal_server.runtime.likeness import is_telling, unlike
from shoal_server.runtime.made_up import Execute, Profile, Recipe, Symbol, symbol_of
from shoal_server.tensors.batch import Array
from shoal_server.tensors.spec import TensorSpec

BUDGET_S: Final = 1.0
"""Time for all trials of one model; the first one takes what it takes."""

_LARGEST_BATCH_ELEMENTS: Final = 1 << 22


class Finding(NamedTuple):
    """Whether a model is batched, and why: a sentence for the operator."""

    batched: bool
    reason: str


class _Trial(NamedTuple):
    """Two requests that are computed alone and together: what they are like, and their rows."""

    first: Profile
    first_rows: int
    second: Profile
    second_rows: int


# Together they carry a largest, smallest, mean or norm over the batch across every bound of ordinary size, so that a
# model which decides by it, or scales by it, gives itself away.
_TRIALS: Final = (
    _Trial(Profile.ORDINARY, 1, Profile.ORDINARY, 2),
    _Trial(Profile.NEGATIVE, 2, Profile.POSITIVE, 1),
    _Trial(Profile.SMALL, 1, Profile.LARGE, 2),
    _Trial(Profile.LOW, 1, Profile.HIGH, 2),
    _Trial(Profile.ZERO, 1, Profile.ORDINARY, 3),
)


class _Contradiction(Exception):
    """Rows that are computed together are not what they are alone."""


def row_symbols(inputs: Sequence[TensorSpec]) -> frozenset[Symbol]:
    """Return the dimensions that would count rows: the first one of every input that must be sent."""
    return frozenset(
        symbol_of(index, 0, spec.dims[0])
        for index, spec in enumerate(inputs)
        if not spec.optional and spec.dims and isinstance(spec.dims[0], str)
    )


def forbidden_by_dims(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> str | None:
    """Return why the dimensions alone rule out batching, None where they permit it."""
    required = [spec for spec in inputs if not spec.optional]
    if not required:
        return "the model has no input that must be sent"
    for spec in required:
        if spec.dims is None:
            return f"the number of dimensions of input '{spec.name}' is unknown"
    for kind, specs in (("input", required), ("output", outputs)):
        for spec in specs:
            if spec.dims is not None and isinstance(spec.dims[0], int):
                return f"the first dimension of {kind} '{spec.name}' is {spec.dims[0]}"
    symbols = row_symbols(inputs)
    for spec in required:
        for dim in (spec.dims or ())[1:]:
            if dim and dim in symbols:
                return f"dimension '{dim}' counts rows, and is another dimension of input '{spec.name}' as well"
    return None


class _Evidence(NamedTuple):
    """A trial that passed: what was computed together, what came of it, and how long that took."""

    inputs: list[Array | None]
    outputs: Sequence[Array]
    rows: int
    run_s: float


class BatchProbe:
    """Runs requests alone and together until something contradicts batching or the time is up."""

    def __init__(self, execute: Execute, outputs: Sequence[TensorSpec], clock: Clock) -> None:
        self._execute = execute
        self._outputs = outputs
        self._clock = clock
        self._random = np.random.default_rng(0)
        self._failure = ""

    def find(self, recipe: Recipe, max_rows: int) -> Finding:
        """Return the finding for batches of up to ``max_rows`` rows; the recipe is known to run with one row."""
        start_s = self._clock.monotonic()
        passed: list[_Evidence] = []
        recipe = recipe.narrowed(self._execute)
        try:
            for trial in _TRIALS:
                evidence = self._try(recipe, trial)
                if evidence is not None:
                    passed.append(evidence)
                if self._clock.monotonic() - start_s > BUDGET_S:
                    break
            if not passed:
                why = self._failure or "all that it gives is infinite or undefined"
                return Finding(batched=False, reason=f"made-up rows did not tell: {why}")
            row_s = min(evidence.run_s / evidence.rows for evidence in passed)  # others were held up by the machine
            most_rows = self._try_large(recipe, passed[0], row_s, max_rows)
        except _Contradiction as contradiction:
            return Finding(batched=False, reason=f"rows do not stay what they are alone: {contradiction}")
        trials = "one trial" if len(passed) == 1 else f"{len(passed)} trials"
        return Finding(batched=True, reason=f"{trials} with up to {most_rows} rows gave what the rows give alone")

    def _try(self, recipe: Recipe, trial: _Trial) -> _Evidence | None:
        """Return None where the model refuses what is made up, or gives nothing to compare."""
        first = recipe.draw(self._random, trial.first, trial.first_rows)
        second = recipe.draw(self._random, trial.second, trial.second_rows)
        try:
            first_alone = self._execute(first)
            second_alone = self._execute(second)
        except ExecutionFailed as error:
            self._failure = self._failure or str(error)
            return None
        both = [_join(pair) for pair in zip(first, second, strict=True)]
        rows = trial.first_rows + trial.second_rows
        start_s = self._clock.monotonic()
        together = self._run_together(both, rows)
        run_s = self._clock.monotonic() - start_s
        telling = True
        for spec, one, other, whole in zip(self._outputs, first_alone, second_alone, together, strict=True):
            for part, part_rows in ((one, trial.first_rows), (other, trial.second_rows)):
                if part.shape[:1] != (part_rows,):
                    raise _Contradiction(f"output '{spec.name}' has shape {list(part.shape)} for {part_rows} rows")
            self._compare(spec, one, whole[: trial.first_rows], rows)
            self._compare(spec, other, whole[trial.first_rows :], rows)
            telling = telling and is_telling(spec.datatype, whole)
        return _Evidence(both, together, rows, run_s) if telling else None

    def _try_large(self, recipe: Recipe, evidence: _Evidence, row_s: float, max_rows: int) -> int:
        """Repeat known rows up to a whole batch, as far as time and memory allow; return how many it were."""
        in_time = int(BUDGET_S / max(row_s, 1e-9))
        in_memory = _LARGEST_BATCH_ELEMENTS // max(recipe.largest_row_elements(), 1)
        rows = min(max_rows, in_time, in_memory)
        if rows <= evidence.rows:
            return evidence.rows
        order = np.arange(rows) % evidence.rows
        together = self._run_together([None if array is None else array[order] for array in evidence.inputs], rows)
        for spec, known, whole in zip(self._outputs, evidence.outputs, together, strict=True):
            self._compare(spec, known[order], whole, rows)
        return rows

    def _run_together(self, inputs: list[Array | None], rows: int) -> Sequence[Array]:
        try:
            outputs = self._execute(inputs)
        except ExecutionFailed as error:
            raise _Contradiction(f"{rows} rows fail together and not alone: {error}") from error
        for spec, output in zip(self._outputs, outputs, strict=True):
            if output.shape[:1] != (rows,):
                raise _Contradiction(f"output '{spec.name}' has shape {list(output.shape)} for {rows} rows")
        return outputs

    def _compare(self, spec: TensorSpec, alone: Array, together: Array, rows: int) -> None:
        if alone.shape != together.shape:
            shapes = f"{list(alone.shape[1:])} alone, {list(together.shape[1:])}"
            raise _Contradiction(f"rows of output '{spec.name}' have shape {shapes} among {rows} rows")
        difference = unlike(spec.datatype, alone, together)
        if difference is not None:
            raise _Contradiction(f"in output '{spec.name}' {difference} among {rows} rows")


def _join(pair: tuple[Array | None, Array | None]) -> Array | None:
    first, second = pair
    return None if first is None or second is None else np.concatenate([first, second])
