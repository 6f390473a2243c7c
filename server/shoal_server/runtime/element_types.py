"""Element types as ONNX Runtime names them, and what carries each in the protocol."""

from typing import Final, NamedTuple

from shoal_server.tensors.datatype import DataType


class ElementType(NamedTuple):
    """One element type of the runtime.

    ``onnx_number`` is set where numpy lacks the type: its bits then travel in arrays of ``datatype`` and are relabelled
    with that number of ``onnx.TensorProto.DataType`` on their way into the runtime. It is 0 where numpy has the type.
    ``packed_bits`` is the size of an element of which several share a byte in the runtime, 0 where none do; they travel
    one to a byte.
    """

    datatype: DataType
    onnx_number: int = 0
    packed_bits: int = 0


# The protocol has no 8-bit floats; their bits are carried as UINT8, which is also what ONNX Runtime itself hands out.
# Nor has it whole numbers of less than a byte, which are carried as the smallest that it has. FLOAT4E2M1 and complex
# numbers are missing: ONNX Runtime computes with neither on a CPU.
element_types: Final = {
    "bool": ElementType(DataType.BOOL),
    "uint8": ElementType(DataType.UINT8),
    "uint16": ElementType(DataType.UINT16),
    "uint32": ElementType(DataType.UINT32),
    "uint64": ElementType(DataType.UINT64),
    "int8": ElementType(DataType.INT8),
    "int16": ElementType(DataType.INT16),
    "int32": ElementType(DataType.INT32),
    "int64": ElementType(DataType.INT64),
    "float16": ElementType(DataType.FP16),
    "bfloat16": ElementType(DataType.BF16, 16),
    "float": ElementType(DataType.FP32),
    "double": ElementType(DataType.FP64),
    "string": ElementType(DataType.BYTES),
    "float8e4m3fn": ElementType(DataType.UINT8, 17),
    "float8e4m3fnuz": ElementType(DataType.UINT8, 18),
    "float8e5m2": ElementType(DataType.UINT8, 19),
    "float8e5m2fnuz": ElementType(DataType.UINT8, 20),
    "float8e8m0": ElementType(DataType.UINT8, 24),
    "uint4": ElementType(DataType.UINT8, 21, packed_bits=4),
    "int4": ElementType(DataType.INT8, 22, packed_bits=4),
    "uint2": ElementType(DataType.UINT8, 25, packed_bits=2),
    "int2": ElementType(DataType.INT8, 26, packed_bits=2),
}
"""The runtime's name, without ``tensor()`` around it -> what it is here."""
