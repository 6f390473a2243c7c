"""Tensors as people write and read them: JSON and .npy files to the protocol's raw form, and back to arrays."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from shoal_server.cli.failure import MISUSED, Failure
from shoal_server.errors import InvalidRequest
from shoal_server.tensors.datatype import DataType
from shoal_server.tensors.text import decode_text, encode_text

Array = npt.NDArray[Any]

_NUMPY_SUFFIX: Final = ".npy"
_BF16_TAIL_BITS: Final = 16  # a BF16 is the upper half of a float32

# By the kind of numpy type that goes over the wire: the kinds that may be written for it, and what to call them.
_TAKEN: Final = {"b": "b", "i": "iu", "u": "iu", "f": "iuf"}
_WANTED: Final = {
    "b": "true or false",
    "i": "whole numbers",
    "u": "whole numbers from 0",
    "f": "numbers",
    "O": "strings",
}


def read(text: str) -> Array:
    """Return what an input's text means: ``@FILE`` (.npy, else JSON) or JSON itself, a scalar or nested lists.

    Raises:
        Failure: the file cannot be read, or it is no array of numbers, booleans or strings.
    """
    if text.startswith("@"):
        return _read_file(Path(text[1:]))
    return _from_json(text, "the value", "neither JSON nor @FILE")


def encode(name: str, array: Array, datatype: DataType, dims: Sequence[int]) -> tuple[tuple[int, ...], bytes]:
    """Return shape and raw contents of an array sent as the input ``name`` of a type and shape (-1: any size).

    Leading dimensions that are missing are added with size 1, so that one row need not be written as a batch.

    Raises:
        Failure: the elements cannot be of that type without changing their value's kind or range.
    """
    missing = len(dims) - array.ndim
    if missing > 0 and all(dim in (-1, 1) for dim in dims[:missing]):
        array = array.reshape((1,) * missing + array.shape)
    return array.shape, _raw(name, array, datatype)


def decode(name: str, raw: bytes, datatype: DataType, shape: Sequence[int]) -> Array:
    """Return an output as an array; BF16 as float32, BYTES as objects of type str.

    Raises:
        Failure: the server sent other than it said.
    """
    try:
        if datatype is DataType.BYTES:
            texts = decode_text(name, raw, int(np.prod(shape, dtype=np.int64)))
            array = np.array(texts, dtype=object)
        elif datatype is DataType.BF16:
            array = (np.frombuffer(raw, "<u2").astype("<u4") << _BF16_TAIL_BITS).view("<f4")
        else:
            array = np.frombuffer(raw, datatype.dtype)
        return array.reshape(shape)
    except (InvalidRequest, ValueError) as error:
        raise Failure(f"the server sent {len(raw)} bytes for output '{name}' of shape {list(shape)}") from error


def plain(array: Array) -> object:
    """Return an array as nested lists that JSON can hold: NaN and the infinities, which it cannot, become strings."""
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        exact = array.astype(object)
        exact[~np.isfinite(array)] = np.array([str(value) for value in array[~np.isfinite(array)]], dtype=object)
        array = exact
    nested: object = array.tolist()
    return nested


def _read_file(path: Path) -> Array:
    try:
        if path.suffix != _NUMPY_SUFFIX:
            return _from_json(path.read_text(encoding="utf-8"), str(path), "no JSON (arrays of numpy are @FILE.npy)")
        array: Array = np.load(path, allow_pickle=False)
    except OSError as error:
        raise Failure(f"{path} cannot be read: {error.strerror or error}", MISUSED) from error
    except (ValueError, EOFError) as error:
        raise Failure(f"{path} is not what its name says: {error}", MISUSED) from error
    return array


def _from_json(text: str, where: str, fault: str) -> Array:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise Failure(f"{where} is {fault}: {error}", MISUSED) from error
    # Objects keep what was written, where numpy would make [1, "a"] strings and [1, 2.5] floats.
    array = np.array(value, dtype=object)
    if any(isinstance(element, list) for element in array.flat):
        raise Failure(f"{where}: lists side by side differ in length or depth", MISUSED)
    return array


def _raw(name: str, array: Array, datatype: DataType) -> bytes:
    try:
        if datatype is DataType.BYTES:
            return b"".join(encode_text(_texts(array)))
        target = np.dtype("<f4") if datatype is DataType.BF16 else datatype.dtype
        with np.errstate(over="raise"):
            numbers = _numbers(array, target)
    except (TypeError, ValueError, ArithmeticError) as error:
        wanted = _WANTED["O" if datatype is DataType.BYTES else datatype.dtype.kind]
        raise Failure(f"input '{name}' takes {datatype.value}, {wanted}: {error}", MISUSED) from error
    return (_to_bf16(numbers) if datatype is DataType.BF16 else numbers).tobytes()


def _texts(array: Array) -> list[str]:
    texts = [item.decode() if isinstance(item, bytes) else item for item in array.ravel().tolist()]
    wrong = next((text for text in texts if not isinstance(text, str)), None)
    if wrong is not None:
        raise TypeError(f"got {wrong!r}")
    return texts


def _numbers(array: Array, target: np.dtype[Any]) -> Array:
    """Return the array as another type; raise where an element is of another kind or out of range."""
    taken = _TAKEN[target.kind]
    if array.dtype == object:
        wrong = next((item for item in array.flat if np.min_scalar_type(item).kind not in taken), None)
        if wrong is not None or None in array.flat:
            raise TypeError(f"got {wrong!r}")
        # By float64, from which a number too large for the target raises as it should.
        return np.array(array.tolist(), np.float64 if target.kind == "f" else target).astype(target)
    if array.dtype.kind not in taken:
        raise TypeError(f"got an array of {array.dtype}")
    numbers = array.astype(target)
    if target.kind in "iu" and not np.array_equal(numbers, array):
        raise ValueError("got numbers out of its range")
    return numbers


def _to_bf16(numbers: Array) -> Array:
    """Round float32 to the nearest BF16, ties to even, as hardware does."""
    bits = numbers.view("<u4").astype(np.uint64)
    rounded = (bits + 0x7FFF + ((bits >> _BF16_TAIL_BITS) & 1)) >> _BF16_TAIL_BITS
    return np.where(np.isnan(numbers), 0x7FC0, rounded).astype("<u2")
