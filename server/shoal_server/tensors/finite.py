"""Whether numbers are numbers: neither NaN nor infinite."""

from collections.abc import Iterable
from typing import Final, NamedTuple

import numpy as np

from shoal_server.tensors.batch import Array
from shoal_server.tensors.datatype import DataType
from shoal_server.tensors.spec import TensorSpec

_FLOATS: Final = frozenset({DataType.FP16, DataType.FP32, DataType.FP64})
_BF16_EXPONENT: Final = 0x7F80  # all of its bits are set in a NaN and in an infinity


class Place(NamedTuple):
    """Where something is not finite: in which tensor, and in which of its rows."""

    name: str
    row: int


def all_finite(spec: TensorSpec, array: Array) -> bool:
    """Whether a tensor has neither NaN nor infinity; true of what is no float."""
    if spec.datatype in _FLOATS:
        return bool(np.isfinite(array).all())
    return spec.datatype is not DataType.BF16 or not _bf16(array).any()


def first_not_finite(specs: Iterable[TensorSpec], arrays: Iterable[Array | None]) -> Place | None:
    """Return the first place of these tensors that is not finite, None where all are."""
    for spec, array in zip(specs, arrays, strict=True):
        if array is not None and not all_finite(spec, array):
            wrong = _bf16(array) if spec.datatype is DataType.BF16 else ~np.isfinite(array)
            return Place(spec.name, int(np.argwhere(wrong)[0][0]) if array.ndim else 0)
    return None


def _bf16(array: Array) -> Array:
    return np.asarray((array & _BF16_EXPONENT) == _BF16_EXPONENT)
