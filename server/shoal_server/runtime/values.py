"""Tensors of types that numpy lacks, in and out of ONNX Runtime's own values."""

import ctypes
from math import prod
from typing import Final

import numpy as np
from onnxruntime import OrtValue

from shoal_server.errors import ExecutionFailed
from shoal_server.runtime.element_types import element_types
from shoal_server.tensors.batch import Array
from shoal_server.tensors.datatype import DataType

_PACKED_BITS: Final = {
    element.onnx_number: element.packed_bits for element in element_types.values() if element.packed_bits
}


def to_value(name: str, array: Array, onnx_number: int) -> OrtValue:
    """Return a value over the array's memory, of the element type with that number, or the array's own if it is 0.

    Raises:
        ExecutionFailed: an element lies outside the range of its type; the text says so of the input ``name``.
    """
    if onnx_number in _PACKED_BITS:
        array = _packed(name, array, _PACKED_BITS[onnx_number])
    # Not ascontiguousarray, which makes a scalar one-dimensional.
    contiguous = array if array.flags.c_contiguous else array.copy()
    if onnx_number:
        return OrtValue.ortvalue_from_numpy_with_onnx_type(contiguous, onnx_number)
    return OrtValue.ortvalue_from_numpy(contiguous)


def from_value(value: OrtValue, datatype: DataType, onnx_number: int) -> Array:
    """Return a copy of a tensor's bits as an array of ``datatype``."""
    size_bytes = value.tensor_size_in_bytes()
    # The address of an empty tensor may be anything.
    raw = ctypes.string_at(value.data_ptr(), size_bytes) if size_bytes else b""
    if onnx_number in _PACKED_BITS:
        elements = _unpacked(raw, prod(value.shape()), _PACKED_BITS[onnx_number], datatype)
    else:
        elements = np.frombuffer(raw, datatype.dtype)
    return elements.reshape(value.shape())


def _packed(name: str, array: Array, bits: int) -> Array:
    """Return an array of the same shape whose first bytes hold all elements, the first in the lowest bits.

    That is how ONNX packs them (TensorProto.raw_data); the bytes after them nobody reads, but the shape needs them.
    """
    lowest = -(1 << bits - 1) if array.dtype.kind == "i" else 0
    highest = lowest + (1 << bits) - 1
    if array.size and (array.min() < lowest or array.max() > highest):
        raise ExecutionFailed(
            f"input '{name}' has {bits} bits per element: they lie in [{lowest}, {highest}], "
            f"got {array.min()} to {array.max()}",
            caller_at_fault=True,
        )
    per_byte = 8 // bits
    parts = np.zeros((-(-array.size // per_byte), per_byte), np.uint8)
    parts.reshape(-1)[: array.size] = array.reshape(-1).view(np.uint8) & (1 << bits) - 1
    packed = np.zeros(array.shape, np.uint8)
    packed.reshape(-1)[: len(parts)] = np.bitwise_or.reduce(parts << _shifts(bits), axis=1)
    return packed


def _unpacked(raw: bytes, count: int, bits: int, datatype: DataType) -> Array:
    parts = np.frombuffer(raw, np.uint8)[:, None] >> _shifts(bits)
    elements = parts.reshape(-1)[:count] & (1 << bits) - 1
    if datatype is DataType.INT8:
        # Two's complement: the highest bit counts negative.
        return (elements ^ 1 << bits - 1).astype(np.int8) - np.int8(1 << bits - 1)
    return elements


def _shifts(bits: int) -> Array:
    return np.arange(0, 8, bits, dtype=np.uint8)
