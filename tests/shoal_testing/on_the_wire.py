"""Tensors as the protocol carries them: what bare ONNX Runtime answers and what the server answers, made comparable."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from shoal.inference import grpc_service_pb2 as pb
from shoal_server.tensors.text import encode_text

Array = npt.NDArray[Any]


class Carried(NamedTuple):
    """How elements travel: the protocol's name of their type, and the numpy type that holds the same bits."""

    datatype: str
    bits: str


CARRIED: Final[Mapping[int, Carried]] = {
    TensorProto.BOOL: Carried("BOOL", "?"),
    TensorProto.UINT8: Carried("UINT8", "u1"),
    TensorProto.UINT16: Carried("UINT16", "u2"),
    TensorProto.UINT32: Carried("UINT32", "u4"),
    TensorProto.UINT64: Carried("UINT64", "u8"),
    TensorProto.INT8: Carried("INT8", "i1"),
    TensorProto.INT16: Carried("INT16", "i2"),
    TensorProto.INT32: Carried("INT32", "i4"),
    TensorProto.INT64: Carried("INT64", "i8"),
    TensorProto.FLOAT16: Carried("FP16", "f2"),
    TensorProto.BFLOAT16: Carried("BF16", "u2"),
    TensorProto.FLOAT: Carried("FP32", "f4"),
    TensorProto.DOUBLE: Carried("FP64", "f8"),
    TensorProto.STRING: Carried("BYTES", "O"),
    # The protocol has no such types. Small floats travel as their bits, integers of less than a byte one to a byte.
    TensorProto.FLOAT8E4M3FN: Carried("UINT8", "u1"),
    TensorProto.FLOAT8E4M3FNUZ: Carried("UINT8", "u1"),
    TensorProto.FLOAT8E5M2: Carried("UINT8", "u1"),
    TensorProto.FLOAT8E5M2FNUZ: Carried("UINT8", "u1"),
    TensorProto.FLOAT8E8M0: Carried("UINT8", "u1"),
    TensorProto.FLOAT4E2M1: Carried("UINT8", "u1"),
    TensorProto.UINT4: Carried("UINT8", "u1"),
    TensorProto.INT4: Carried("INT8", "i1"),
    TensorProto.UINT2: Carried("UINT8", "u1"),
    TensorProto.INT2: Carried("INT8", "i1"),
}
"""ONNX's number of an element type -> what carries it."""

PACKED_BITS: Final = {TensorProto.UINT4: 4, TensorProto.INT4: 4, TensorProto.UINT2: 2, TensorProto.INT2: 2}
"""Types of which several elements share a byte in memory."""

FLOATS: Final = {"FP16": "f2", "BF16": "u2", "FP32": "f4", "FP64": "f8"}
"""The protocol's floats, and numpy's type for each; the bits of that which numpy lacks."""


class WireTensor(NamedTuple):
    """A tensor as the protocol writes it."""

    datatype: str
    shape: tuple[int, ...]
    raw: bytes


def on_the_wire(array: Array, onnx_type: int) -> WireTensor:
    """Return an array of numpy's or ml_dtypes' elements as it is to travel."""
    carried = CARRIED[onnx_type]
    if onnx_type == TensorProto.STRING:
        texts = [text.decode() if isinstance(text, bytes) else text for text in array.ravel().tolist()]
        return WireTensor(carried.datatype, array.shape, b"".join(encode_text(texts)))
    if onnx_type in PACKED_BITS:
        array = array.astype(carried.bits)
    return WireTensor(carried.datatype, array.shape, array.tobytes())


def request_of(model: str, inputs: dict[str, WireTensor]) -> pb.ModelInferRequest:
    """Return a request with raw contents."""
    request = pb.ModelInferRequest(model_name=model)
    for name, tensor in inputs.items():
        request.inputs.add(name=name, datatype=tensor.datatype, shape=tensor.shape)
        request.raw_input_contents.append(tensor.raw)
    return request


def answered(response: pb.ModelInferResponse) -> dict[str, WireTensor]:
    """Return what an answer holds, by the names of the outputs."""
    raw = response.raw_output_contents
    assert len(raw) == len(response.outputs), f"{len(raw)} raw contents for {len(response.outputs)} outputs"
    return {
        tensor.name: WireTensor(tensor.datatype, tuple(tensor.shape), data)
        for tensor, data in zip(response.outputs, raw, strict=True)
    }


def difference(wanted: WireTensor, got: WireTensor) -> str | None:
    """Return how two tensors differ, None if type, shape and every byte are equal; a NaN equals any other."""
    if (wanted.datatype, wanted.shape) != (got.datatype, got.shape):
        return f"{wanted.datatype} {list(wanted.shape)} became {got.datatype} {list(got.shape)}"
    if wanted.raw == got.raw:
        return None
    if len(wanted.raw) != len(got.raw):
        return f"{len(wanted.raw)} bytes became {len(got.raw)}"
    if wanted.datatype == "BYTES":
        return "texts differ"
    apart = np.array(bits_of(wanted) != bits_of(got))
    if wanted.datatype in FLOATS:
        apart &= ~(np.isnan(_widened(wanted)) & np.isnan(_widened(got)))
    if not apart.any():
        return None
    return f"{np.count_nonzero(apart)} of {apart.size} elements of {wanted.datatype} {list(wanted.shape)} differ"


def distance(wanted: WireTensor, got: WireTensor) -> float:
    """Return how far two tensors are apart, relative to the largest finite element of the one that is wanted.

    Infinite where they differ in anything but finite floats.
    """
    if difference(wanted, got) is None:
        return 0.0
    if (wanted.datatype, wanted.shape) != (got.datatype, got.shape) or wanted.datatype not in FLOATS:
        return float("inf")
    first, second = _widened(wanted), _widened(got)
    finite = np.isfinite(first) & np.isfinite(second)
    if not np.all(finite | (first == second) | (np.isnan(first) & np.isnan(second))):
        return float("inf")
    apart = float(np.abs(first[finite] - second[finite]).max(initial=0.0))
    return apart / (float(np.abs(first[finite]).max(initial=0.0)) or 1.0)


def bits_of(tensor: WireTensor) -> Array:
    """Return the elements' bits as whole numbers, flat; not of texts."""
    bits = next(carried.bits for carried in CARRIED.values() if carried.datatype == tensor.datatype)
    return np.frombuffer(tensor.raw, f"u{np.dtype(bits).itemsize}")


def _widened(tensor: WireTensor) -> Array:
    """Return floats as 64-bit ones, flat."""
    if tensor.datatype == "BF16":
        return (bits_of(tensor).astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    return np.frombuffer(tensor.raw, FLOATS[tensor.datatype]).astype(np.float64)
