"""Whether two runs gave the same, apart from rounding."""

from typing import Final

import numpy as np

from shoal_server.tensors.batch import Array
from shoal_server.tensors.datatype import DataType

# How far results of one computation in another order may be apart, relative to the largest of a row.
_TOLERANCE: Final = {DataType.FP64: 1e-4, DataType.FP32: 1e-4, DataType.FP16: 2e-2, DataType.BF16: 5e-2}
_ABSOLUTE: Final = 1e-7


def unlike(datatype: DataType, wanted: Array, got: Array) -> str | None:
    """Return how two results of the same shape differ, None if they are the same apart from rounding.

    The first dimension counts rows. Floats are held against the largest value of their row, and against a tenth of the
    largest of all rows, since a row may be what is left when large terms cancel out. NaN equals NaN. All else is exact.
    """
    tolerance = _TOLERANCE.get(datatype)
    if tolerance is None:
        differing = int(np.count_nonzero(wanted != got))
        return f"{differing} of {wanted.size} elements differ" if differing else None
    if wanted.tobytes() == got.tobytes():
        return None
    first, second = _widened(datatype, wanted), _widened(datatype, got)
    finite = np.isfinite(first) & np.isfinite(second)
    same = (first == second) | (np.isnan(first) & np.isnan(second))
    if not np.all(finite | same):
        return "infinite or undefined elements differ"
    size = np.where(finite, np.abs(first), 0.0)
    largest_of_row = size.max(axis=1, keepdims=True, initial=0.0)
    allowed = tolerance * np.maximum(largest_of_row, size.max(initial=0.0) / 10) + _ABSOLUTE
    distance = np.abs(np.where(finite, first, 0.0) - np.where(finite, second, 0.0))
    if np.all(distance <= allowed):
        return None
    worst = np.unravel_index(np.argmax(distance - allowed), distance.shape)
    return f"{first[worst]:.6g} became {second[worst]:.6g}"


def is_telling(datatype: DataType, result: Array) -> bool:
    """Whether a result can show anything: not if every float in it is infinite or undefined."""
    return datatype not in _TOLERANCE or not result.size or bool(np.isfinite(_widened(datatype, result)).any())


def _widened(datatype: DataType, array: Array) -> Array:
    """Return the values as 64-bit floats, one line per row."""
    if datatype is DataType.BF16:
        array = (array.astype(np.uint32) << 16).view(np.float32)
    rows = array.shape[0] if array.ndim else 1
    return array.astype(np.float64).reshape(rows, array.size // rows if rows else 0)
