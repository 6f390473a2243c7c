"""Plain values (numbers, strings, nested lists of them) to arrays of the type that the model's metadata names."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from shoal_client.datatypes import TYPES, Array, DataType
from shoal_client.errors import InvalidInput
from shoal_client.signature import TensorSpec

_BF16_TAIL_BITS: Final = 16  # a BF16 is the upper half of a float32
_TAKEN: Final = {"b": "b", "i": "iu", "u": "iu", "f": "iuf"}
_WANTED: Final = {"b": "booleans", "i": "whole numbers", "u": "whole numbers from 0", "f": "numbers", "O": "strings"}


def to_array(value: object, spec: TensorSpec) -> Array:
    """Return a value as an array of the input's type; BF16 as its bits in ``uint16``.

    Leading dimensions that are missing are added with size 1, so that one row need not be written as a batch.

    Raises:
        InvalidInput: lists differ in length, or an element cannot be of that type without changing its kind or range.
    """
    datatype = TYPES.get(spec.datatype)
    if datatype is None:
        raise InvalidInput(f"input '{spec.name}' is of the type {spec.datatype!r:.40}: give it as a numpy array")
    objects = _objects(value, spec)
    wanted = _WANTED[datatype.dtype.kind if datatype.name != "BF16" else "f"]
    try:
        array = _texts(objects) if datatype.name == "BYTES" else _numbers(objects, datatype)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise InvalidInput(f"input '{spec.name}' takes {spec.datatype}, {wanted}: {error}") from error
    missing = len(spec.shape) - array.ndim
    if missing > 0 and all(size in (-1, 1) for size in spec.shape[:missing]):
        array = array.reshape((1,) * missing + array.shape)
    return array


def _objects(value: object, spec: TensorSpec) -> Array:
    """Return the elements as they were written: numpy by itself would make [1, "a"] strings and [1, 2.5] floats."""
    try:
        objects: Array = np.array(value, dtype=object)
    except ValueError as error:  # arrays side by side in a list that do not fit together
        raise InvalidInput(f"input '{spec.name}': what lies side by side differs in length or depth") from error
    if any(isinstance(element, Sequence) and not isinstance(element, str | bytes) for element in objects.flat):
        raise InvalidInput(f"input '{spec.name}': lists side by side differ in length or depth")
    return objects


def _texts(objects: Array) -> Array:
    wrong = next((item for item in objects.flat if not isinstance(item, str | bytes)), None)
    if wrong is not None or None in objects.ravel().tolist():
        raise TypeError(f"got {wrong!r:.60}")
    return objects


def _numbers(objects: Array, datatype: DataType) -> Array:
    bf16 = datatype.name == "BF16"
    target: np.dtype[Any] = np.dtype("<f4") if bf16 else datatype.dtype
    taken = _TAKEN[target.kind]
    for item in objects.flat:
        if item is None or isinstance(item, str | bytes) or np.asarray(item).dtype.kind not in taken:
            raise TypeError(f"got {item!r:.60}")
    with np.errstate(over="raise"):
        # By float64, from which a number too large for the target raises as it should.
        numbers = np.array(objects.tolist(), np.float64 if target.kind == "f" else target).astype(target)
    return _to_bf16(numbers) if bf16 else numbers


def _to_bf16(numbers: Array) -> Array:
    """Round float32 to the nearest BF16, ties to even, as hardware does."""
    bits = numbers.view("<u4").astype(np.uint64)
    rounded = (bits + 0x7FFF + ((bits >> _BF16_TAIL_BITS) & 1)) >> _BF16_TAIL_BITS
    return np.where(np.isnan(numbers), 0x7FC0, rounded).astype("<u2")
