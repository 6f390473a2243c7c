"""ONNX Runtime by itself, with nothing of the server around it: what the server's answers are held against."""

import ctypes
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from onnx import TensorProto, numpy_helper

from shoal_testing.on_the_wire import CARRIED, PACKED_BITS, WireTensor, on_the_wire

Array = npt.NDArray[Any]

_FATAL = 4  # what it would write to the console comes as an exception anyway
_NUMPY_LACKS = 16  # from this number of TensorProto.DataType on, but for complex numbers


class Refused(Exception):
    """ONNX Runtime does not load the model, or does not run it on these inputs."""


class Fed(NamedTuple):
    """One input: an array of numpy's or ml_dtypes' elements, and their type in ONNX's numbers."""

    array: Array
    onnx_type: int


class BareModel:
    """A model in ONNX Runtime's own session, run on one thread, which is what makes results repeatable bit by bit."""

    def __init__(self, model: bytes | Path) -> None:
        """Load it.

        Raises:
            Refused: ONNX Runtime does not take it.
        """
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = _FATAL
        source = model if isinstance(model, bytes) else str(model)
        try:
            self._session = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise Refused(str(error)) from error
        self.outputs = {output.name: str(output.type) for output in self._session.get_outputs()}

    def run(self, inputs: Mapping[str, Fed]) -> dict[str, WireTensor]:
        """Return every output; all of them are tensors.

        Raises:
            Refused: ONNX Runtime does not compute it.
        """
        types = [_onnx_type(kind) for kind in self.outputs.values()]
        try:
            if all(number < _NUMPY_LACKS for number in [*types, *(fed.onnx_type for fed in inputs.values())]):
                arrays = self._session.run(None, {name: fed.array for name, fed in inputs.items()})
                tensors = [on_the_wire(np.asarray(array), kind) for array, kind in zip(arrays, types, strict=True)]
            else:
                values = {name: _to_value(fed) for name, fed in inputs.items()}
                results = self._session.run_with_ort_values(None, values)
                tensors = [_from_value(value, kind) for value, kind in zip(results, types, strict=True)]
        except Exception as error:
            raise Refused(str(error)) from error
        return dict(zip(self.outputs, tensors, strict=True))


def _onnx_type(kind: str) -> int:
    """Return the number of the elements of ``tensor(kind)`` or ``optional(tensor(kind))``."""
    element = kind.removeprefix("optional(").removeprefix("tensor(").rstrip(")").upper()
    return int(TensorProto.DataType.Value(element))


def _to_value(fed: Fed) -> ort.OrtValue:
    array = np.array(fed.array, order="C")  # a scalar stays one
    if fed.onnx_type < _NUMPY_LACKS:
        return ort.OrtValue.ortvalue_from_numpy(array)
    bits = np.zeros(array.shape, f"u{array.itemsize}")
    if fed.onnx_type in PACKED_BITS:
        # The value lies over the array's memory, of which packed elements need but the beginning.
        packed = np.frombuffer(numpy_helper.from_array(array).raw_data, np.uint8)
        bits.reshape(-1)[: packed.size] = packed
    else:
        bits[...] = array.view(bits.dtype)
    return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(bits, fed.onnx_type)


def _from_value(value: ort.OrtValue, onnx_type: int) -> WireTensor:
    if onnx_type < _NUMPY_LACKS:
        return on_the_wire(value.numpy(), onnx_type)
    size_bytes = value.tensor_size_in_bytes()
    raw = ctypes.string_at(value.data_ptr(), size_bytes) if size_bytes else b""
    shape = tuple(value.shape())
    if onnx_type in PACKED_BITS:
        packed = TensorProto(data_type=onnx_type, dims=shape, raw_data=raw)
        return on_the_wire(numpy_helper.to_array(packed), onnx_type)
    return WireTensor(CARRIED[onnx_type].datatype, shape, raw)
