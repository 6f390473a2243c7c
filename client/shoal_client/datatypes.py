"""Element types of the Open Inference Protocol, and numpy's names for the same bits."""

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
"""A numpy array of any type and shape."""


@dataclass(frozen=True, slots=True)
class DataType:
    """One element type: its name on the wire, numpy's type of its bits (little-endian), and its list of typed contents.

    BF16, which numpy lacks, has the bits of ``uint16``. BYTES are Python ``bytes`` in an array of ``object``. FP16 and
    BF16 have no list of typed contents.
    """

    name: str
    dtype: np.dtype[Any]
    contents: str


TYPES: Final = {
    name: DataType(name, np.dtype(code), contents)
    for name, code, contents in (
        ("BOOL", "?", "bool_contents"),
        ("UINT8", "u1", "uint_contents"),
        ("UINT16", "<u2", "uint_contents"),
        ("UINT32", "<u4", "uint_contents"),
        ("UINT64", "<u8", "uint64_contents"),
        ("INT8", "i1", "int_contents"),
        ("INT16", "<i2", "int_contents"),
        ("INT32", "<i4", "int_contents"),
        ("INT64", "<i8", "int64_contents"),
        ("FP16", "<f2", ""),
        ("BF16", "<u2", ""),
        ("FP32", "<f4", "fp32_contents"),
        ("FP64", "<f8", "fp64_contents"),
        ("BYTES", "O", "bytes_contents"),
    )
}
"""Every element type by its name on the wire."""

_OF_DTYPE: Final = {datatype.dtype: datatype for name, datatype in TYPES.items() if name not in ("BF16", "BYTES")}
_TEXT_KINDS: Final = "OSUT"  # objects, bytes, str, and numpy's strings of any length


def datatype_of(array: Array) -> DataType | None:
    """Return the type that an array travels as; None if the protocol has none for it (complex numbers, times).

    ``uint16`` is UINT16 here; whether BF16 is meant, only the model knows.
    """
    dtype = array.dtype
    known = _OF_DTYPE.get(dtype)
    if known is not None:
        return known
    if dtype.kind in _TEXT_KINDS:
        return TYPES["BYTES"]
    if dtype.name == "bfloat16":  # ml_dtypes, JAX, PyTorch's exports: they all call it so
        return TYPES["BF16"]
    return _OF_DTYPE.get(dtype.newbyteorder("<"))


def bf16_view(bits: Array) -> Array:
    """Return BF16 bits (``uint16``) as ``ml_dtypes.bfloat16`` where that package is installed, else as they are."""
    dtype = _bfloat16()
    return bits if dtype is None else bits.view(dtype)


@cache
def _bfloat16() -> "np.dtype[Any] | None":
    if find_spec("ml_dtypes") is None:
        return None
    # By its name: it is optional, and nothing else of it is needed.
    dtype: np.dtype[Any] = np.dtype(import_module("ml_dtypes").bfloat16)
    return dtype
