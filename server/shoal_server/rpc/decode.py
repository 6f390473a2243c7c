"""ModelInferRequest to a request of the domain."""

from collections.abc import Sequence
from math import prod
from typing import Final

import numpy as np
from google.protobuf.message import DecodeError

from shoal.inference.grpc_service_pb2 import InferTensorContents, ModelInferRequest
from shoal_server.errors import InvalidRequest, Unsupported
from shoal_server.rpc.packed import fixed_numbers
from shoal_server.rpc.structure import MALFORMED, check_structure
from shoal_server.service import InferenceRequest
from shoal_server.tensors.datatype import DataType
from shoal_server.tensors.spec import MAX_RANK, Tensor
from shoal_server.tensors.text import join_raw

_CONTENTS: Final = {
    DataType.BOOL: "bool_contents",
    DataType.INT8: "int_contents",
    DataType.INT16: "int_contents",
    DataType.INT32: "int_contents",
    DataType.INT64: "int64_contents",
    DataType.UINT8: "uint_contents",
    DataType.UINT16: "uint_contents",
    DataType.UINT32: "uint_contents",
    DataType.UINT64: "uint64_contents",
    DataType.FP32: "fp32_contents",
    DataType.FP64: "fp64_contents",
    DataType.BYTES: "bytes_contents",
}
"""Which typed list holds a type's elements; FP16 and BF16 have none and travel raw."""

_UNITS: Final = {"timeout": " of microseconds", "priority": ", 1 for the most important"}

_TYPES: Final = {datatype.value: datatype for datatype in DataType}


def parse(message: bytes) -> ModelInferRequest:
    """Return the message's fields.

    Raises:
        InvalidRequest: the bytes are no ModelInferRequest, or one of too many parts.
    """
    check_structure(message)
    try:
        return ModelInferRequest.FromString(message)
    except DecodeError:
        raise InvalidRequest(MALFORMED) from None


def decode(request: ModelInferRequest, size_bytes: int, deadline_s: float | None) -> InferenceRequest:
    """Turn a parsed request of ``size_bytes`` bytes into one of the domain.

    Raises:
        InvalidRequest: the contents are missing, doubled or not of their tensor's type.
        Unsupported: an extension is asked for that this server does not offer.
    """
    return InferenceRequest(  # by position: names cost 0.6 us
        request.model_name,
        request.model_version,
        _tensors(request),
        _outputs(request) if request.outputs else (),
        size_bytes,
        deadline_s,
        _timeout_s(request) if request.parameters else None,
        (_whole_number(request, "priority") or 0) if request.parameters else 0,
    )


def _tensors(request: ModelInferRequest) -> Sequence[Tensor]:
    # Slices: a list made at once costs a third of iterating over protobuf's own containers.
    raw = request.raw_input_contents[:]
    inputs = request.inputs[:]
    if not raw:
        return [_typed(tensor) for tensor in inputs]
    if len(raw) != len(inputs):
        raise InvalidRequest(f"expected {len(inputs)} entries in raw_input_contents, one per input, got {len(raw)}")
    tensors = []
    for tensor, data in zip(inputs, raw, strict=True):
        if tensor.HasField("contents"):
            raise InvalidRequest(
                "contents field must not be specified when using raw_input_contents for input "
                f"{tensor.name!r:.120} of model {request.model_name!r:.120}"
            )
        if tensor.parameters:
            _refuse_shared_memory(tensor)
        tensors.append(Tensor(tensor.name, tensor.datatype, tuple(tensor.shape[:]), data))
    return tensors


def _typed(tensor: ModelInferRequest.InferInputTensor) -> Tensor:
    """Take a tensor's elements from the list that belongs to its type."""
    _refuse_shared_memory(tensor)
    shape = tuple(tensor.shape)
    datatype = _TYPES.get(tensor.datatype)
    if datatype is None:
        # The signature's check will say which type it takes.
        return Tensor(tensor.name, tensor.datatype, shape, b"")
    count = _count(tensor.name, shape)
    filled = [descriptor.name for descriptor, _ in tensor.contents.ListFields()]
    field = _CONTENTS.get(datatype)
    if field is None:
        if count:
            raise InvalidRequest(
                f"input {tensor.name!r:.120} is {datatype.value}, which has no typed contents: use raw_input_contents"
            )
        return Tensor(tensor.name, tensor.datatype, shape, b"")
    if [name for name in filled if name != field]:
        raise InvalidRequest(
            f"input {tensor.name!r:.120} is {datatype.value}: its elements belong in {field}, got {', '.join(filled)}"
        )
    elements = getattr(tensor.contents, field)
    if len(elements) != count:
        where = f"unable to find data for input tensor {tensor.name!r:.120}: " if not filled else ""
        raise InvalidRequest(
            f"{where}input {tensor.name!r:.120} of shape {list(shape)} takes {count} elements, got {len(elements)}"
        )
    return Tensor(tensor.name, tensor.datatype, shape, _raw(tensor.name, datatype, tensor.contents, field))


def _raw(name: str, datatype: DataType, contents: InferTensorContents, field: str) -> bytes:
    elements = getattr(contents, field)
    if datatype is DataType.BYTES:
        return join_raw(elements)
    fixed = fixed_numbers(contents, field)
    if fixed is not None:
        return fixed
    # The type is always said: left to itself, numpy takes whole numbers on both sides of 2 ** 63 for floats.
    shared = field in ("int_contents", "uint_contents")
    array = np.fromiter(elements, np.int64 if shared else datatype.dtype, len(elements))
    if shared and array.size:
        limits = np.iinfo(datatype.dtype)
        if array.min() < limits.min or array.max() > limits.max:
            raise InvalidRequest(
                f"input {name!r:.120} is {datatype.value}: its elements lie in [{limits.min}, {limits.max}], "
                f"got {array.min()} to {array.max()}"
            )
    return array.astype(datatype.dtype).tobytes()


def _count(name: str, shape: tuple[int, ...]) -> int:
    if len(shape) > MAX_RANK or any(size < 0 for size in shape):
        raise InvalidRequest(f"input {name!r:.120} has an impossible shape: {list(shape)!s:.120}")
    return prod(shape)


def _outputs(request: ModelInferRequest) -> tuple[str, ...]:
    for output in request.outputs:
        if "shared_memory_region" in output.parameters:
            raise Unsupported(f"output {output.name!r:.120}: shared memory is not offered by this server")
        if "classification" in output.parameters:
            raise Unsupported(f"output {output.name!r:.120}: the classification extension is not offered")
    return tuple([output.name for output in request.outputs])


def _refuse_shared_memory(tensor: ModelInferRequest.InferInputTensor) -> None:
    if "shared_memory_region" in tensor.parameters:
        raise Unsupported(f"input {tensor.name!r:.120}: shared memory is not offered by this server")


def _timeout_s(request: ModelInferRequest) -> float | None:
    """Read the request's own ``timeout`` (Triton's schedule policy extension): microseconds, 0 for none."""
    timeout_us = _whole_number(request, "timeout")
    return timeout_us / 1e6 if timeout_us else None


def _whole_number(request: ModelInferRequest, name: str) -> int | None:
    parameter = request.parameters.get(name)
    if parameter is None:
        return None
    kind = parameter.WhichOneof("parameter_choice")
    if kind not in ("int64_param", "uint64_param"):
        raise InvalidRequest(f"the parameter '{name}' is a whole number{_UNITS.get(name, '')}")
    number: int = getattr(parameter, kind)
    if number < 0:
        raise InvalidRequest(f"the parameter '{name}' is not negative, got {number}")
    return number
