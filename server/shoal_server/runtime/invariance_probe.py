"""Whether a model's answers depend on the batch, in their last bit: found out by doing it.

Rows may be computed together where that changes no answer but by rounding; whether it changes even that depends on how
the runtime divides the work, by the number of rows and by the machine. Here equal means equal bits.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from shoal_server.clock import Clock
from shoal_server.errors import ExecutionFailed
from shoal_server.runtime.made_up import Execute, Profile, Recipe
from shoal_server.tensors.batch import Array
from shoal_server.tensors.datatype import DataType
from shoal_server.tensors.invariance import InvarianceFinding
from shoal_server.tensors.spec import TensorSpec

_DIFFERENT_ROWS: Final = 8
_MOST_ROWS: Final = 256
_MOST_ELEMENTS: Final = 1 << 22
_SHUFFLES: Final = 6
_GLANCE: Final = (2, 5, 16)
_GLANCE_BUDGET_S: Final = 0.1
_BUDGET_S: Final = 2.0


class _OutOfTime(Exception):
    """More would take longer than is left."""


class InvarianceProbe:
    """Runs the same rows alone and in batches, and compares bits. The recipe is known to run with one row."""

    def __init__(self, execute: Execute, outputs: Sequence[TensorSpec], clock: Clock) -> None:
        self._execute = execute
        self._outputs = outputs
        self._clock = clock
        self._random = np.random.default_rng(0)

    def find(self, recipe: Recipe, most_rows: int, *, thorough: bool) -> InvarianceFinding:
        """Return whether rows are the same in batches of up to ``most_rows`` rows as alone.

        ``thorough`` takes up to two seconds, for all sizes at which work is likely to be divided in another way, where
        a glance takes a tenth of one.
        """
        most = max(min(most_rows, _MOST_ROWS, _MOST_ELEMENTS // max(recipe.largest_row_elements(), 1)), 1)
        comparison = self._comparison(recipe, _BUDGET_S if thorough else _GLANCE_BUDGET_S)
        try:
            for row in range(_DIFFERENT_ROWS):
                comparison.run(np.array([row]))
            for rows in _sizes(most, thorough=thorough):
                difference = comparison.run(self._random.integers(0, _DIFFERENT_ROWS, rows))
                if difference is not None:
                    return InvarianceFinding(invariant=False, reason=difference)
        except _OutOfTime:
            return InvarianceFinding(invariant=None, reason="it takes too long to find out")
        except ExecutionFailed as error:
            return InvarianceFinding(invariant=None, reason=f"made-up rows did not tell: {error}")
        return InvarianceFinding(invariant=True, reason=f"bit-equal alone and in batches of up to {most} rows")

    def why_not_at(self, recipe: Recipe, rows: int) -> str | None:
        """Return why rows are not the same wherever they stand in batches of just that size, None where they are."""
        comparison = self._comparison(recipe, _BUDGET_S)
        try:
            for _ in range(_SHUFFLES):
                difference = comparison.run(self._random.integers(0, _DIFFERENT_ROWS, rows))
                if difference is not None:
                    return difference
        except _OutOfTime:
            pass  # what was compared so far is equal
        except ExecutionFailed as error:
            return f"made-up rows did not tell: {error}"
        return None

    def _comparison(self, recipe: Recipe, budget_s: float) -> "_Comparison":
        inputs = recipe.draw(self._random, Profile.ORDINARY, _DIFFERENT_ROWS)
        return _Comparison(self._execute, self._outputs, self._clock, inputs, budget_s)


class _Comparison:
    """Batches of some rows, by their numbers: whatever comes out for a row is to be what came out for it first."""

    def __init__(
        self,
        execute: Execute,
        outputs: Sequence[TensorSpec],
        clock: Clock,
        inputs: Sequence[Array | None],
        budget_s: float,
    ) -> None:
        self._execute = execute
        self._outputs = outputs
        self._clock = clock
        self._inputs = inputs
        self._ends_s = clock.monotonic() + budget_s
        self._known: dict[tuple[int, int], bytes | list[object]] = {}
        self._row_s = 0.0

    def run(self, numbers: Array) -> str | None:
        """Compute these rows together; return how one of them differs from what it was before, if one does.

        Raises:
            ExecutionFailed: the model does.
            _OutOfTime: it would take longer than is left.
        """
        start_s = self._clock.monotonic()
        if start_s + self._row_s * len(numbers) > self._ends_s:
            raise _OutOfTime
        arrays = self._execute([None if array is None else array[numbers] for array in self._inputs])
        self._row_s = (self._clock.monotonic() - start_s) / len(numbers)
        for index, (spec, array) in enumerate(zip(self._outputs, arrays, strict=True)):
            text = spec.datatype is DataType.BYTES
            # Cut here, as a slice of an array takes thrice as long.
            whole: Any = array.ravel().tolist() if text else array.reshape(-1).view(np.uint8).data
            size = len(whole) // len(numbers)
            for place, number in enumerate(numbers.tolist()):
                row = whole[place * size : (place + 1) * size]
                seen: bytes | list[object] = row if text else bytes(row)
                if self._known.setdefault((index, number), seen) != seen:
                    return f"among {len(numbers)} rows output '{spec.name}' is not bit for bit what it is otherwise"
        return None


def _sizes(most_rows: int, *, thorough: bool) -> list[int]:
    """Return sizes to try, the largest first: it is the one at which most is divided."""
    if not thorough:
        return [most_rows, *(rows for rows in _GLANCE if rows < most_rows)]
    powers = [1 << doubled for doubled in range(1, most_rows.bit_length() + 1)]
    near = {rows for power in powers for rows in (power - 1, power, power + 1, power + power // 2)}
    return [most_rows, *sorted(rows for rows in near if 1 < rows < most_rows)]
