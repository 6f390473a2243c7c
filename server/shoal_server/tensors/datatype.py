"""Element types of the Open Inference Protocol (v2, "Tensor Data Types") and Triton's BF16."""

from enum import Enum
from typing import Any, Final

import numpy as np

_NUMPY_CODES: Final = {
    "BOOL": "?",
    "UINT8": "u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "BF16": "<u2",
    "FP32": "<f4",
    "FP64": "<f8",
    "BYTES": "O",
}


class DataType(Enum):
    """One element type; the value is its name on the wire.

    ``itemsize`` is bytes per element in raw contents (0 for BYTES, whose elements carry their own length).
    ``dtype`` is the numpy type that holds the same bits; BF16, which numpy lacks, is held as ``uint16``, and BYTES as
    Python ``str`` objects, since an ONNX string is UTF-8 text.
    """

    BOOL = "BOOL"
    UINT8 = "UINT8"
    UINT16 = "UINT16"
    UINT32 = "UINT32"
    UINT64 = "UINT64"
    INT8 = "INT8"
    INT16 = "INT16"
    INT32 = "INT32"
    INT64 = "INT64"
    FP16 = "FP16"
    BF16 = "BF16"
    FP32 = "FP32"
    FP64 = "FP64"
    BYTES = "BYTES"

    itemsize: int
    dtype: np.dtype[Any]

    def __init__(self, wire_name: str) -> None:
        self.dtype = np.dtype(_NUMPY_CODES[wire_name])
        self.itemsize = 0 if wire_name == "BYTES" else self.dtype.itemsize
